"""`train` with several kinds of self-edits, and with harvests between rounds, with the fake engine, which has a planted edit vector.

1. Texts, directives and vectors are learned in one run: the same ledger, rows of each alone and of both, the vector pointing at the planted one.
2. Whatever was interrupted, a run that is resumed ends with the same ledger.
3. Edit vectors are no self-edits to read: the report, the analysis and the data set for other trainers keep them apart.
4. What does not fit together is refused in one line.
5. What the kept adapters answer to fresh questions is trained on in later rounds and in a row of its own, with as many tokens as the row without.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfedit import api
from selfedit.config import Recipe, packaged_for
from selfedit.engine.fake import PLANTED
from selfedit.errors import ConfigError
from selfedit.ledger import Reader
from selfedit.loop import kept, on_top
from selfedit.report.page import render
from selfedit.store.dataset import read
from selfedit.types import Harvested

QUICK: dict[str, Any] = {"engine": "fake", "limit": 3, "rounds": 3, "eval": {"baselines": ("base", "untrained")}}
ALL: dict[str, Any] = QUICK | {"edits": ("data,directives,vector",), "vector": {"candidates": 8, "sigma": 0.2}}
HARVEST: dict[str, Any] = QUICK | {"rounds": 2, "harvest": {"questions": 6}}


def hashed(run: api.Run) -> str:
    with run.reader() as reader:
        return reader.content_hash()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return api.train(folder=tmp_path_factory.mktemp("kinds"), **ALL)


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return api.train(folder=tmp_path_factory.mktemp("gathered"), **HARVEST)


def test_all_kinds_in_one_run(whole: api.Run) -> None:  # promise 1
    with whole.reader() as reader:
        candidates, updates, rows = reader.candidates(), reader.updates(), reader.rows()
        [*_, last] = [step.name for step in reader.steps() if step.name.startswith("round-2/vector/candidates")]
        assert reader.step("evaluate/vector/edits", type(candidates[0].proposal))
    vectors = [one for one in candidates if one.proposal.edit.vector]
    texts = [one for one in candidates if not one.proposal.edit.vector and one.proposal.edit.directives]
    assert last and len(vectors) == 3 * 3 * 8 and texts
    assert {one.learner for one in updates} == {"", "vector"} and len(updates) == 6
    moved = [one for one in updates if one.learner]
    assert moved[-1].metrics["reward"] > moved[0].metrics["reward"] and moved[-1].metrics["norm"] > 0
    assert rows[-3:] == ["round-3", "vector_alone", "data_and_vector"] and whole.comparison.final == "data_and_vector"
    table = {row["name"]: row for row in whole.table}
    assert table["data_and_vector"]["label"] == "Self-edits and vector" and table["data_and_vector"]["tokens"] == table["round-3"]["tokens"]
    likely = {row.name: row.gold_logprob.mean for row in whole.comparison.rows if row.gold_logprob}
    assert list(whole.adapters) == ["the mean edit"]
    assert likely["data_and_vector"] > likely["round-3"] and likely["vector_alone"] > likely["base"]


def test_vectors_on_texts_weigh_a_gradient(tmp_path: Path) -> None:  # promise 1
    run = api.train(folder=tmp_path, **ALL | {"rounds": 1, "vector": {"candidates": 4, "basis": "gradient"}})
    with run.reader() as reader:
        [basis] = [one.sha256 for one in reader.artifacts() if one.path == "basis"]
        assert {one.edit.vector.basis for one in reader.proposals() if one.edit.vector} == {basis}


def test_the_vector_points_at_the_planted_one(whole: api.Run) -> None:  # promise 1
    with whole.reader() as reader:
        found = [np.array(one.edit.vector.values) for one in reader.proposals(3) if one.edit.strategy == "vector_alone" and one.edit.vector]
    alike = [values.sum() / np.linalg.norm(values) / len(values) ** 0.5 for values in found]  # the planted one is the same number everywhere
    assert PLANTED > 0 and min(alike) > 0.3 and max(alike) > 0.6


class Stopped(BaseException):
    """What a user does."""


def stopping(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, calls: int) -> None:
    """The function ends the run when it is called the next time after so many calls."""
    known, left = getattr(module, name), calls

    def call(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        return known(*args, **options)

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize(
    ("module", "name", "calls", "settings"),
    [(on_top, "scored", 4, ALL), (on_top, "vector_rows", 0, ALL), (kept, "harvest", 0, HARVEST)],
)
def test_resumed_as_uninterrupted(
    whole: api.Run, gathered: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, calls: int, settings: dict[str, Any]
) -> None:  # promise 2
    with monkeypatch.context() as patched:
        stopping(patched, module, name, calls)
        with pytest.raises(Stopped):
            api.train(folder=tmp_path, **settings)
    assert hashed(api.train(resume="latest", folder=tmp_path)) == hashed(whole if settings is ALL else gathered)


def test_vectors_are_kept_apart(whole: api.Run) -> None:  # promise 3
    page = render(whole.folder)
    assert "Edit vectors" in page and "Self-edits and vector" in page and ", without the document in view" in page
    written, candidates = read(whole.folder)
    assert written and not any(one.proposal.edit.vector for one in written) and not any(one.proposal.edit.vector for one in candidates)


@pytest.mark.parametrize(
    ("edits", "settings", "words"),
    [
        (("directives",), {}, "name data too"),
        (("data", "data"), {}, "each once"),
        (("data", "directives"), {"propose": {"directives": ()}}, "propose.directives names none"),
        (("data", "vector"), {"algorithm": "grpo"}, "algorithm grpo does not learn self-edits of the kind vector; use ppo or reinforce"),
        (("data", "vector"), {"inner": "vector"}, "self-edits of the kind data are for the inner loop lora"),
        (("data", "vector"), {"reward": "majority"}, "which majority does not measure"),
        (("data",), {"vector": {"type": "vector"}}, "a section [vector] is for edits"),
    ],
)
def test_refusals(tmp_path: Path, edits: Sequence[str], settings: dict[str, Any], words: str) -> None:  # promise 4
    with pytest.raises(ConfigError) as refused:
        api.train(folder=tmp_path, engine="fake", edits=edits, **settings)
    assert words in str(refused.value) and "\n" not in str(refused.value) and not list(tmp_path.iterdir())


def test_packaged() -> None:  # promise 4
    found = {kinds: packaged_for((kinds,)) for kinds in ("data,vector", "vector,data", "data,directives", "data,directives,vector")}
    assert all(isinstance(one, Recipe) for one in found.values()) and found["data,vector"] == found["vector,data"]


def test_a_harvest_between_rounds(gathered: api.Run) -> None:  # promise 5
    with Reader(gathered.folder) as reader:
        names, rows, tasks = [step.name for step in reader.steps()], reader.rows(), reader.step("tasks", type(reader.tasks()[0]))
        between, results = reader.step("round-0/harvest", Harvested), reader.results()
        tokens = {number: {one.proposal.task_id: one.tokens for one in reader.candidates(number)} for number in (0, 1)}
        held_out = [one for name in names if name.startswith("evaluate/with_harvest/harvest") for one in reader.step(name, Harvested)]
    used = {one.task_id for one in between if one.used}
    assert used and "round-1/harvest" not in names and rows[-1] == "with_harvest"
    asked = {q.question for task in tasks for q in (*task.reward_questions, *task.report_questions)}
    assert not asked & {one.question for one in between if not one.known}
    assert any(tokens[1][task] > tokens[0][task] for task in used)
    without, with_harvest = ({one.task_id: one.tokens for one in results if one.row == row} for row in ("round-2", "with_harvest"))
    assert any(one.used for one in held_out) and any(with_harvest[task] != without[task] for task in without)
    assert all(abs(with_harvest[task] - without[task]) <= 0.5 * without[task] / 6 + 60 for task in without)
