"""A step is computed once.

1. A finished step is not computed again, and gives the same records.
2. A step whose computation fails leaves nothing, and its exception comes through.
3. Costs: tokens as counted, none left over from a failed attempt, none from between two steps.
4. A run that is killed at any moment and resumed has the content of one that was not.
5. The content hash sees every number and every setting, and no clock, place or version.
6. Notes are written once, a list of notes grows; the status says how the run ended.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.ledger import made_up

from selfedit.config import ColdStart, Recipe
from selfedit.errors import Interrupted, LedgerError
from selfedit.ledger import Ledger, Reader, final_row
from selfedit.types import Task

ROOT = Path(__file__).parents[3]


def finished(folder: Path) -> tuple[list[object], str]:
    with made_up.begin(folder) as ledger:
        return made_up.run(ledger), ledger.content_hash()


def test_a_finished_step_is_not_computed_again(tmp_path: Path):
    seen, digest = finished(tmp_path / "run")

    def never() -> None:
        raise AssertionError("computed again")

    with Ledger.open(tmp_path / "run") as ledger:
        assert repr(made_up.run(ledger, never)) == repr(seen)  # repr: NaN is not equal to itself
        assert ledger.content_hash() == digest
        with pytest.raises(LedgerError, match="holds Task, not Selected"):
            ledger.step("tasks", made_up.Selected, list)


def test_a_failing_step_leaves_nothing(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger:
        before = ledger.content_hash()

        def fail() -> list[Task]:
            ledger.count(train_tokens=100)
            raise ZeroDivisionError("boom")

        with pytest.raises(ZeroDivisionError, match="boom"):
            ledger.step("tasks", Task, fail)
        assert ledger.content_hash() == before
        ledger.step("tasks", Task, lambda: [made_up.task(0)])
    with Reader(tmp_path / "run") as reader:
        [step] = reader.steps()
    assert (step.name, step.kind, step.records, step.cost.train_tokens) == ("tasks", "Task", 1, 0)


def test_costs_add_up(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger:
        made_up.run(ledger, lambda: time.sleep(0.001))
    with Reader(tmp_path / "run") as reader:
        cost, steps = reader.cost(), reader.steps()
    assert len(steps) == made_up.STEPS
    assert (cost.train_tokens, cost.sample_tokens) == (3 * made_up.STEPS, 5 * made_up.STEPS)
    assert cost.wall_s == pytest.approx(sum(step.cost.wall_s for step in steps))
    assert cost.wall_s > 0.001 * made_up.STEPS


def test_what_is_counted_between_two_steps_belongs_to_none(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger:
        ledger.count(train_tokens=5, sample_tokens=7)
        ledger.step("tasks", Task, lambda: [made_up.task(0)])
        ledger.count(train_tokens=5)
        with pytest.raises(KeyError):
            ledger.step("broken", Task, lambda: {}["nothing"])
        ledger.count(sample_tokens=5)
        ledger.step("more", Task, lambda: [made_up.task(1)])
    with Reader(tmp_path / "run") as reader:
        assert [(step.cost.train_tokens, step.cost.sample_tokens) for step in reader.steps()] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("seed", range(4))
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, seed: int):
    _, digest = finished(tmp_path / "whole")
    chance, kills = random.Random(seed), 0
    command = [sys.executable, "-m", "tests.unit.ledger.made_up", str(tmp_path / "run"), "0.03"]
    while True:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        if kills == 0 and seed == 0:
            time.sleep(chance.uniform(0.0, 0.3))  # perhaps before the ledger is there at all
        else:
            assert process.stdout.readline() == b"begun\n"
            time.sleep(chance.uniform(0.0, 0.2))
        process.kill()
        process.stdout.close()
        if process.wait() != -signal.SIGKILL:
            break
        kills += 1
    with Reader(tmp_path / "run") as reader:
        assert kills >= 1
        assert reader.info().status == "finished"
        assert reader.content_hash() == digest


def test_the_hash_sees_numbers_but_no_clock(tmp_path: Path):
    digests = {finished(tmp_path / name)[1] for name in ("a", "b")}
    assert len(digests) == 1
    for change in (
        "UPDATE records SET body = replace(body, '0.30000000000000004', '0.3') WHERE kind = 'Candidate' AND idx = 0",
        "UPDATE records SET body = json_set(body, '$.answers[1].gold_logprob', NULL) WHERE id = (SELECT max(id) FROM records WHERE kind = 'Result')",
        "DELETE FROM records WHERE kind = 'Verdict'",
        "UPDATE steps SET train_tokens = train_tokens + 1 WHERE position = 0",
        "UPDATE run SET recipe = json_set(recipe, '$.inner.epochs', 77)",
        "INSERT INTO notes VALUES ('judge', '\"another\"', 'content')",
    ):
        db = sqlite3.connect(tmp_path / "a" / "ledger.db")
        assert db.execute(change).rowcount > 0
        db.commit()
        db.close()
        with Reader(tmp_path / "a") as reader:
            digests.add(reader.content_hash())
    assert len(digests) == 7


def test_the_hash_sees_no_places(tmp_path: Path):
    digests = set()
    for name, begun_in in (("a", "/home/ann"), ("b", "/srv")):
        docs, shown = (Path(begun_in, "docs"),), ColdStart(enabled=True, examples=(Path(begun_in, "shown.jsonl"),))
        recipe = Recipe(model=f"{begun_in}/model", docs=docs, eval_docs=docs, cold_start=shown)
        with Ledger.create(tmp_path / name, command="eval", recipe=recipe, environment={"folder": begun_in}) as ledger:
            ledger.note("documents for tasks", {"sha256": "1" * 64})
            ledger.note("policy folder", {"run": name, "folder": begun_in}, kind="places")
            ledger.add_note("resumed", {"after_steps": 1, "with": {"torch": begun_in}})
            digests.add(ledger.content_hash())
        with Reader(tmp_path / name) as reader:
            assert reader.notes()["policy folder"] == {"run": name, "folder": begun_in}
            digests.add(reader.content_hash())
    assert len(digests) == 1


def test_notes_are_written_once(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger:
        ledger.note("machine", {"cores": 2, "name": "ä"})
        ledger.note("machine", {"name": "ä", "cores": 2})
        with pytest.raises(LedgerError, match="already"):
            ledger.note("machine", "another")
        ledger.add_note("resumed", {"with": "ä"})
        ledger.add_note("resumed", [2, None])
    with Reader(tmp_path / "run") as reader:
        assert reader.notes() == {"machine": {"cores": 2, "name": "ä"}, "resumed": [{"with": "ä"}, [2, None]]}


@pytest.mark.parametrize(
    ("error", "status"), [(None, "interrupted"), (KeyboardInterrupt(), "interrupted"), (Interrupted("x"), "interrupted"), (ValueError(), "failed")]
)
def test_the_status_says_how_it_ended(tmp_path: Path, error: BaseException | None, status: str):
    try:
        with made_up.begin(tmp_path / "run"), Reader(tmp_path / "run") as reader:
            assert reader.info().status == "running"
            if error:
                raise error
    except (KeyboardInterrupt, Interrupted, ValueError):
        pass
    with Reader(tmp_path / "run") as reader:
        assert reader.info().status == status
    with Ledger.open(tmp_path / "run") as ledger, Reader(tmp_path / "run") as reader:
        assert reader.info().status == "running"
        assert reader.info().recipe["seed"] == ledger.recipe.seed == 7
        ledger.finish()
        assert reader.info().status == "finished"


@pytest.mark.parametrize(
    ("rows", "final"),
    [
        (("base", "passage_only", "after"), "after"),
        (("base", "untrained", "cold_start", "round-1", "round-2", "token_matched"), "round-2"),
        (("base", "untrained", "cold_start", "token_matched"), "cold_start"),
        (("base", "untrained", "best_strategy", "token_matched"), "best_strategy"),
        (("base", "untrained"), "untrained"),
        (("base", "passage_only"), None),
    ],
)
def test_the_arm_that_a_run_is_about(rows: tuple[str, ...], final: str | None) -> None:
    assert final_row(rows) == final
