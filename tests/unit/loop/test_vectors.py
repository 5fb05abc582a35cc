"""`train --edits vector` with the fake engine, which has a planted edit that makes gold answers likelier.

1. The reward rises, the learned edits point at the planted one, and the table has its rows, labelled, with `zero` the same as `base`.
2. Whatever was interrupted, a run that is resumed ends with the same ledger.
3. The ledger holds all that is needed to make every adapter again: basis, layers, numbers, reward. The mean edit is left as an adapter.
4. What does not fit is refused in one line before anything is opened.
5. Every algorithm for vectors runs, with a gate too, and with a reward of written answers.
6. The report shows the vectors.
7. What a round has to beat is the reward of the model's own answers, whatever the reward: it is 0 only of gains.
8. With the gradient as basis the adapter that edits weigh lies in the run folder, is used as the run left it, and has a row of its own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from selfedit import api
from selfedit.config import Recipe, packaged_for, parse_recipe
from selfedit.engine.fake import PLANTED, Fake
from selfedit.errors import ConfigError, DataError, LedgerError
from selfedit.loop import vectors
from selfedit.loop.vector_rows import SIZES
from selfedit.report.page import render
from selfedit.store.artifacts import adapter_of
from selfedit.text import judge_answer
from selfedit.types import Candidate, ScoreRequest

QUICK: dict[str, Any] = {"edits": ("vector",), "engine": "fake", "limit": 6, "rounds": 6, "round_passages": 0}
MANY: dict[str, Any] = {"inner": {"candidates": 8}}


def trained(folder: Path, resume: str | None = None, **settings: Any) -> api.Run:
    return api.train(resume=resume, folder=folder, **({} if resume else QUICK | settings))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return trained(tmp_path_factory.mktemp("vectors"), **MANY)


def test_the_reward_rises(run: api.Run) -> None:  # promise 1
    with run.reader() as reader:
        updates, results, proposals = reader.updates(), reader.results(), reader.proposals(6)
    by_learner = {name: [one.metrics["reward"] for one in updates if one.algorithm.endswith(name)] for name in ("contextual", "mean", "es")}
    assert all(len(found) == 6 and found[-1] > found[0] + 0.5 for found in by_learner.values()), by_learner
    assert [one.metrics["sigma"] for one in updates][-1] == pytest.approx(0.025)
    final = [np.array(one.edit.vector.values) for one in proposals if one.edit.strategy == "contextual_edit" and one.edit.vector]
    assert len(final) == 6
    for values in final:
        assert values.sum() / np.linalg.norm(values) / len(values) ** 0.5 > 0.75  # the planted edit is the same number everywhere
        assert np.abs(values.mean() - PLANTED) < 0.1
    rows = {row["name"]: row for row in run.table}
    assert next(iter(rows)) == "base" and set(rows) >= {"zero", "random_vector", "mean_edit", "es", "contextual_edit", "gradient", "few_shot"}
    assert rows["contextual_edit"]["label"] == "Edit by context" and rows["gradient"]["tokens"] > 0 == rows["contextual_edit"]["tokens"]
    said = {row: [(a.prediction, a.gold_logprob) for r in results if r.row == row for a in r.answers] for row in rows}
    assert said["zero"] == said["base"] != said["contextual_edit"]
    assert np.mean([value for _, value in said["contextual_edit"] if value]) > np.mean([value for _, value in said["base"] if value]) + 1.2


class Stopped(BaseException):
    """What a user does."""


def stopping(calls: int) -> Any:
    """`scored`, which ends the run when it is called the next time after so many calls."""
    left, scored = calls, vectors.scored

    def call(*args: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        return scored(*args)

    return call


@pytest.mark.parametrize("calls", [1, 4, 7, 13])
def test_resumed_as_uninterrupted(run: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:  # promise 2
    with monkeypatch.context() as patched:
        patched.setattr(vectors, "scored", stopping(calls))
        if calls < 12:
            with pytest.raises(Stopped):
                trained(tmp_path, **MANY)
        else:
            trained(tmp_path, **MANY)
    with run.reader() as whole, trained(tmp_path, resume="latest").reader() as again:
        assert whole.content_hash() == again.content_hash()


def test_every_edit_can_be_made_again(run: api.Run) -> None:  # promise 3
    engine = Fake()
    with run.reader() as reader:
        candidates = reader.candidates()
        assert {one.proposal.round for one in candidates} == set(range(6))
    for one in candidates:
        vector = one.proposal.edit.vector
        assert vector and engine.make(vector) and vector.layers == (1, 3, 5, 7, 9, 11) and (vector.seed, vector.rank, vector.width) == (0, 2, 4)
        assert one.reward.value is not None and {"gain", "drift"} <= dict(one.reward.parts).keys()


def test_the_mean_edit_is_left(run: api.Run, tmp_path: Path) -> None:  # promise 3
    [(name, folder)] = run.adapters.items()
    assert name == "the mean edit" and adapter_of(run.folder) == folder
    engine = Fake()
    asked = ScoreRequest(engine.tokenizer.encode("Who?"), engine.tokenizer.encode_more("Nobody."))
    plain, edited = engine.score([asked, replace(asked, adapter=engine.load(folder))])
    assert edited.mean > plain.mean + 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"edits": ("numbers",)}, "'numbers' is no kind of self-edit"),
        ({"algorithm": "rest_em"}, "algorithm rest_em does not learn self-edits of the kind vector; use es or ppo or reinforce"),
        ({"inner": "lora"}, "self-edits of the kind vector are for the inner loop vector, and `inner` is lora"),
        ({"reward": "majority"}, "which majority does not measure"),
        ({"cold_start": {"enabled": True}}, "a cold start shows good training texts"),
        ({"inner": {"layers": (3, 3)}}, "each layer once"),
        ({"inner": {"rows": ("base", "zeros")}}, "unknown vector_row 'zeros'; the nearest is 'zero'"),
        ({"inner": {"candidates": 3}}, "multiple of 2"),
    ],
)
def test_refusals(tmp_path: Path, settings: dict[str, Any], words: str) -> None:  # promise 4
    with pytest.raises(ConfigError) as refused:
        trained(tmp_path, **settings)
    assert words in str(refused.value) and "\n" not in str(refused.value) and not list(tmp_path.iterdir())


def test_what_only_the_model_can_tell(tmp_path: Path) -> None:  # promise 4
    with pytest.raises(ConfigError, match=r"inner\.layers names layer 12, and the model has the layers 0 to 11"):
        trained(tmp_path / "layers", inner={"layers": (3, 12)})
    (tmp_path / "long.txt").write_text("word " * 6000, encoding="utf-8")
    with pytest.raises(DataError, match="is too long for"):
        trained(tmp_path / "long", docs=(tmp_path / "long.txt",), documents={"passage_words": 9000})


def test_other_commands_refuse(run: api.Run, tmp_path: Path) -> None:  # promise 4
    with pytest.raises(ConfigError, match="edit vectors are compared at the end of"):
        api.evaluate(policy=run, folder=tmp_path)
    with pytest.raises(ConfigError, match="algorithm es does not learn self-edits of the kind data"):
        parse_recipe({"algorithm": {"type": "es"}})
    assert packaged_for(("data",)) is None and Recipe().edits == ("data",) and parse_recipe({"edits": "data"}) == Recipe()


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "ppo"},
        {"algorithm": "es", "inner": {"rows": ("base", "contextual_edit")}},
        {"inner": {"gate": 0.01, "rows": ("base", "contextual_edit"), "layers": (2, 5)}},
        {"reward": "correctness"},
        {"inner": {"validation": 0.0, "anchors": 0, "features": 0, "patience": 1}},
        {"inner": {"patience": 1, "rows": ("base", "few_shot")}},
    ],
)
def test_every_way_runs(tmp_path: Path, settings: dict[str, Any]) -> None:  # promise 5
    assert trained(tmp_path, limit=4, rounds=2, **settings).status == "finished"


@pytest.mark.parametrize("reward", ["f1", "likelihood"])
def test_no_edit_has_the_reward_of_the_models_own_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: str) -> None:  # promise 7
    seen: list[tuple[float, Any, Any]] = []
    known = vectors.unedited
    monkeypatch.setattr(vectors, "unedited", lambda ground, asked: seen.append((known(ground, asked), ground, asked)) or seen[-1][0])
    trained(tmp_path, limit=8, rounds=1, reward={"type": reward})
    [(value, ground, asked)] = seen
    own = [[a for a in ground.base[task.id] if a.question in asked[task.id]] for task in ground.validation]
    f1 = fmean(fmean(judge_answer(a.prediction, a.question.golds).f1 for a in answers) for answers in own)
    assert own and all(own) and value == pytest.approx(f1 if reward == "f1" else 0.0)


def test_the_gradient_as_basis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 8
    settings: dict[str, Any] = {"limit": 4, "rounds": 3, "inner": {"basis": "gradient"}}
    whole = trained(tmp_path / "whole", **settings)
    with whole.reader() as reader:
        proposals, rows, candidates = reader.proposals(), reader.rows(), reader.step("evaluate/step/candidates", Candidate)
        [basis] = [one for one in reader.artifacts() if one.path == "basis"]
        found = reader.content_hash()
    edits = [one.edit.vector for one in proposals if one.edit.vector]
    assert {(one.basis, one.rank) for one in edits} == {(basis.sha256, 4)}
    [step] = {one.edit.vector.values for one in proposals if one.edit.strategy == "gradient_step" and one.round == 3 and one.edit.vector}
    worth = {size: fmean(c.reward.value for c in candidates if c.proposal.index == n and c.reward.value is not None) for n, size in enumerate(SIZES)}
    assert rows[3] == "gradient_step" and set(step) == {max(worth, key=lambda size: worth[size])}
    assert "direction of a gradient step" in render(whole.folder) and list(whole.adapters) == ["the mean edit"]

    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(vectors, "scored", stopping(3))
        with pytest.raises(Stopped):
            trained(stopped, **settings)
    [folder] = stopped.glob("*/basis")
    kept = (folder / "adapter_config.json").read_text(encoding="utf-8")
    (folder / "adapter_config.json").write_text(kept + " ", encoding="utf-8")
    with pytest.raises(LedgerError, match=r"the basis of edit vectors of run .* is no longer the one"):
        trained(stopped, resume="latest")
    (folder / "adapter_config.json").write_text(kept, encoding="utf-8")
    with trained(stopped, resume="latest").reader() as reader:
        assert reader.content_hash() == found


def test_the_report(run: api.Run) -> None:  # promise 6
    page = render(run.folder)
    assert "Edit vectors" in page and "layer 11" in page and "Edit by context" in page and "report questions with the passage in view." in page
