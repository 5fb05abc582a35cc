"""Runs of version 0.1.0 stay of use, as they are.

1. `show`, `report`, `runs` and `dataset` read them; the shares and differences that are computed from them now are those that were computed then.
2. `ask` and `export` use their adapters, and `eval --policy` their policy.
3. `--resume` of a finished one writes its report again; an unfinished one is refused in one line. Their files are never written to.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.house import typed

from selfedit.cli import main
from selfedit.library import Library
from selfedit.models import tiny

FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs-0.1.0"
LEARNED, WITH_A_MODEL, TRAINED = sorted(path.name for path in FIXTURES.glob("2*"))
RUNS = {LEARNED: "learn", WITH_A_MODEL: "learn", TRAINED: "train"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the runs in `runs` and their documents. The folder in which they were begun is no more."""
    shutil.copytree(FIXTURES, tmp_path / "runs")
    for file in tmp_path.glob("runs/*/ledger.db"):
        with sqlite3.connect(file) as db:
            db.execute("UPDATE run SET environment = json_set(environment, '$.folder', '/nowhere')")
        db.close()
    for file in FIXTURES.glob("*.jsonl"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SELFEDIT_RUNS", raising=False)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line of a command that has to fail."""
    capsys.readouterr()
    assert main(args) != 0
    [line] = capsys.readouterr().err.splitlines()
    return line


def contents(run: str) -> list[str]:
    """Everything in the file of a run."""
    db = sqlite3.connect(f"file:runs/{run}/ledger.db?mode=ro", uri=True)
    try:
        return list(db.iterdump())
    finally:
        db.close()


def results(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("runs", run, "results.json").read_text(encoding="utf-8"))
    return found


def shares(found: dict[str, Any]) -> dict[str, dict[Any, Any]]:
    """What was measured, by row and by pair of rows. Intervals are computed in another way since, and the row `chance` is new."""
    rows = {row["name"]: (row["mean"], row["n"], row["seeds"], row["tokens"]) for row in found["rows"] if row["name"] != "chance"}
    differences = {(each["of"], each["over"]): each["mean"] for each in found["differences"]}
    return {"rows": rows, "differences": differences, "left out": {each["name"]: each["why"] for each in found["left_out"]}}


@pytest.mark.parametrize("run", RUNS)
def test_looked_into(run: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, then = contents(run), results(run)
    shown = typed(capsys, "show", run)
    assert "version 0.1.0" in shown and f"{2 if run == TRAINED else 4} candidates" in shown
    first = shown.splitlines()[-1].split()[-1]
    assert "asked (1 of" in typed(capsys, "show", run, "--candidate", first)
    page = Path(typed(capsys, "report", run).strip()).read_text(encoding="utf-8")
    assert run in page and then == results(run)
    assert all(name in typed(capsys, "runs") for name in RUNS)
    typed(capsys, "dataset", run, "edits.jsonl", "--kept")
    assert Path("edits.jsonl").read_text(encoding="utf-8")
    assert contents(run) == before


@pytest.mark.parametrize("run", RUNS)
def test_resumed_when_finished(run: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, then = contents(run), results(run)
    assert json.loads(typed(capsys, RUNS[run], "--resume", run, "--json", "--quiet").splitlines()[-1])["run"] == run
    assert shares(results(run)) == shares(then)
    assert contents(run) == before and len(Library(folder / "runs").history()) == (0 if run == TRAINED else 1)


@pytest.mark.parametrize("run", RUNS)
def test_refused_when_unfinished(run: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(f"runs/{run}/ledger.db") as db:
        db.execute("UPDATE run SET status = 'interrupted'")
    db.close()
    line = refused(capsys, RUNS[run], "--resume", run)
    assert f"run {run} was begun by selfedit 0.1.0 and is not finished: resume it with that version (pip install selfedit==0.1.0)" in line
    assert "interrupted" in typed(capsys, "runs")


def test_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = json.loads(typed(capsys, "ask", "Where was Odwin Marrack born?", "--run", LEARNED, "--json", "--quiet"))
    assert "Pellan Cove" in answers["learned"] and "Pellan Cove" not in answers["before"]


def test_asked_and_exported_with_a_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny("llama", folder / "tiny-llama", hidden=32)
    answers = json.loads(typed(capsys, "ask", "Where was Odwin Marrack born?", "--run", WITH_A_MODEL, "--json", "--quiet"))
    assert answers["learned"] != answers["before"]
    typed(capsys, "export", WITH_A_MODEL, "mine")
    assert Path("mine/adapter_model.safetensors").read_bytes() == Path("runs", WITH_A_MODEL, "adapter/adapter_model.safetensors").read_bytes()
    tiny("llama", folder / "tiny-llama", hidden=32, seed=1)
    assert "tiny-llama is no longer the model that run" in refused(capsys, "ask", "Where?", "--quiet")


def test_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(typed(capsys, "eval", "--policy", TRAINED, "--json", "--quiet").splitlines()[-1])
    now, then = (shares(results(run))["rows"] for run in (found["run"], TRAINED))
    assert set(now) == set(then) and "after_rl" in now
