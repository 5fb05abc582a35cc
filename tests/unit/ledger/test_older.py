"""Ledgers and recipes of earlier versions, in the words of today.

1. Every record of a ledger of version 0.1.0 is read as it was recorded, floats to the last bit, and what was added since has its default.
2. Keys of a recipe that were renamed are found under their names of today; a recipe of today stays as it is.
3. A finished run of 0.1.0 opens and takes no writing; an unfinished one is refused, and so is a schema nobody knows.
"""

from __future__ import annotations

import copy
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from selfedit.config import Recipe, ReliabilityStudy, parse_recipe
from selfedit.errors import LedgerError
from selfedit.ledger import Ledger, Reader, runs
from selfedit.ledger.older import upgraded
from selfedit.types import Rating, Task, Update, Variant

FIXTURES = Path(__file__).parents[2] / "fixtures" / "runs-0.1.0"
RUNS = sorted(path.name for path in FIXTURES.glob("2*"))


@pytest.fixture(params=RUNS)
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / request.param))


def rows(run: Path, query: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(f"{(run / 'ledger.db').as_uri()}?mode=ro", uri=True)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def test_every_record_is_read(run: Path):  # promise 1
    with Reader(run) as reader:
        tasks, proposals, candidates = reader.tasks(), reader.proposals(), reader.candidates()
        results = [*reader.results(), *reader.results(role="reward")]
        assert rows(run, "SELECT task_id, title, context FROM tasks ORDER BY id") == [(t.id, t.title, t.context) for t in tasks]
        asked = [(q.question, q.answer, q.kind, q.fact) for t in tasks for q in (*t.reward_questions, *t.report_questions)]
        assert rows(run, "SELECT question, gold, kind, fact FROM questions ORDER BY id") == asked
        assert rows(run, "SELECT strategy, seed, idx FROM proposals ORDER BY id") == [(p.edit.strategy, p.seed, p.index) for p in proposals]
        turns = [(t.prompt.text, t.prompt.continued, t.prompt.given, t.completion, t.finish_reason) for p in proposals for t in p.edit.turns]
        assert rows(run, "SELECT prompt, continued, given, completion, finish_reason FROM turns ORDER BY id") == turns
        assert {(t.tokens) for p in proposals for t in p.edit.turns} == {()}
        assert [json.loads(str(text)) for (text,) in rows(run, "SELECT examples FROM proposals ORDER BY id")] == [
            [{"prompt": e.prompt, "text": e.text} for e in p.edit.examples] for p in proposals
        ]
        rewards = [(c.reward.value, c.reward.kind, c.reward.reason, c.tokens) for c in candidates]
        assert rows(run, "SELECT reward, reward_kind, reward_reason, tokens FROM candidates ORDER BY id") == rewards
        assert [tuple(json.loads(str(text))) for (text,) in rows(run, "SELECT losses FROM candidates ORDER BY id")] == [c.losses for c in candidates]
        measured = [(a.question.question, a.prediction, a.correct, a.gold_logprob) for c in candidates for a in c.answers]
        said = "SELECT question, prediction, correct, gold_logprob FROM answers WHERE {} IS NOT NULL ORDER BY id"
        assert rows(run, said.format("candidate_id")) == measured and any(logprob for *_, logprob in measured)
        assert sorted(map(repr, rows(run, said.format("result_id")))) == sorted(
            repr((a.question.question, a.prediction, None if a.correct is None else int(a.correct), a.gold_logprob))
            for r in results
            for a in r.answers
        )
        assert rows(run, "SELECT task_id, round, idx, advantage FROM kept ORDER BY id") == [
            (s.task_id, s.round, s.index, s.advantage) for s in reader.selected()
        ]
        verdicts = [*(v for c in candidates for v in c.verdicts), *reader.verdicts()]
        assert rows(run, "SELECT guard, decision, reason FROM verdicts ORDER BY id") == [(v.guard, v.decision, v.reason) for v in verdicts]
        assert rows(run, "SELECT name, path, sha256 FROM artifacts") == [(a.name, a.path, a.sha256) for a in reader.artifacts()]
        assert rows(run, "SELECT name, value FROM metrics ORDER BY id") == [(n, v) for u in reader.updates() for n, v in u.metrics.items()]
        assert [p for s in reader.steps() if s.kind == "Proposal" for p in reader.step(s.name, type(proposals[0]))] == proposals
        assert reader.rows() == [row for (row,) in rows(run, "SELECT arm FROM results WHERE role = 'report' GROUP BY arm ORDER BY min(id)")]


def test_records_that_the_fixtures_have_none_of(tmp_path: Path):  # promise 1
    run = Path(shutil.copytree(FIXTURES / RUNS[0], tmp_path / "run"))
    third, tiny, least = 1 / 3, 1e-17 / 3, 5e-324
    with sqlite3.connect(run / "ledger.db") as db:
        db.execute("INSERT INTO ratings SELECT NULL, 8, id, task_id, round, idx, 'halving', 0, ? FROM proposals WHERE idx = 0", (third,))
        db.execute("INSERT INTO ratings SELECT NULL, 8, 9, task_id, round, idx, 'halving', 1, NULL FROM proposals WHERE id = 1")
        db.execute("INSERT INTO variants VALUES (NULL, 8, 0, 0, NULL, 's', 'p', 'questions', 2, 3, ?, 'w', '')", (tiny,))
        db.execute("INSERT INTO updates VALUES (1, 8, 0, 0, 'grpo', 2, 1, ?)", (json.dumps([third, "nan", "inf", "-inf", -0.0]),))
        db.execute("INSERT INTO metrics VALUES (NULL, 1, 'kl', ?), (NULL, 1, 'ratio', ?), (NULL, 1, 'a', ?)", (least, float("inf"), 1e300 / 3))
        db.execute("UPDATE candidates SET reward = NULL, reward_reason = 'diverged' WHERE id = 1")
        db.execute("UPDATE answers SET correct = NULL, gold_logprob = NULL WHERE candidate_id = 1")
    db.close()
    with Reader(run) as reader:
        assert reader.ratings()[-1] == Rating("docs-0001", 0, 0, "halving", 1, None) and reader.ratings()[0].value == third
        assert reader.variants() == [Variant(0, None, "s", "p", "questions", 2, 3, tiny, "w", "")]
        nan, inf = float("nan"), float("inf")
        expected = Update(0, "grpo", 2, 1, (third, nan, inf, -inf, -0.0), {"kl": least, "ratio": inf, "a": 1e300 / 3})
        assert repr(reader.updates()) == repr([expected])
        first = reader.candidates()[0]
        assert first.reward.value is None and first.reward.reason == "diverged"
        assert {(a.correct, a.gold_logprob) for a in first.answers} == {(None, None)}


def test_recipes(run: Path):  # promise 2
    with Reader(run) as reader:
        recipe = parse_recipe(reader.info().recipe, source="old")
    with Ledger.open(run) as ledger:
        assert ledger.recipe == recipe and recipe.eval.baselines == Recipe().eval.baselines
    old = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    old |= {"screening": {"type": "halving", "keep": 2}, "trials": {"seeds": 5, "screens": ["gradient"]}, "guards": {"max_forgetting": 1.5}}
    before = copy.deepcopy(old)
    found = parse_recipe(upgraded(old), source="old")
    assert (found.prefilter.part, found.open("prefilter").settings.keep) == ("halving", 2) and old == before
    assert found.reliability == ReliabilityStudy(seeds=5, prefilters=("gradient",)) and found.guard["forgetting"].model_dump()["max_nats"] == 1.5
    today = json.loads(found.model_dump_json())
    assert upgraded(today) == today and upgraded({}) == {} and upgraded({"seed": 3}) == {"seed": 3}


def test_a_finished_run_opens_and_stays_as_it_is(run: Path):  # promise 3
    before = rows(run, "SELECT * FROM run"), rows(run, "SELECT * FROM notes")
    with Ledger.open(run) as ledger:
        assert ledger.is_finished("tasks")
        tasks = ledger.step("tasks", Task, lambda: pytest.fail("computed again"))
        ledger.note("judge", "word recall of at least 0.6")
        with pytest.raises(LedgerError):
            ledger.step("more", Task, lambda: tasks)
    assert (rows(run, "SELECT * FROM run"), rows(run, "SELECT * FROM notes")) == before
    assert [summary.status for summary in runs(run.parent)] == ["finished"]


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_an_unfinished_run_is_refused(run: Path, status: str):  # promise 3
    with sqlite3.connect(run / "ledger.db") as db:
        db.execute("UPDATE run SET status = ?", (status,))
    db.close()
    with pytest.raises(
        LedgerError, match=r"was begun by selfedit 0\.1\.0 and is not finished: resume it with that version \(pip install selfedit==0\.1\.0\)"
    ):
        Ledger.open(run)
    with Reader(run) as reader:
        assert reader.tasks() and reader.info().status == ("interrupted" if status == "running" else status)


def test_a_schema_that_nobody_knows(run: Path):  # promise 3
    with sqlite3.connect(run / "ledger.db") as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    for opener in (Ledger.open, Reader):
        with pytest.raises(LedgerError, match=r"has schema 1, .*an older selfedit: use that one"):
            opener(run)
