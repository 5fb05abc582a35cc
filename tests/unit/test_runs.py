"""Runs are found by what a user types, and every way to end early leaves one line.

1. `latest` is the newest of the commands asked for; a unique beginning, an id and a path are found; what is ambiguous or wrong names what there is.
2. A full disk, in any library's words, is recognised.
3. An error that came of Ctrl-C is Ctrl-C.
4. What fails before a run has begun is said as it is, and leaves no folder; what fails later is said in a line, with its traceback in the run folder.
5. Runs live where SELFEDIT_RUNS says, also relative to where one is; their adapters are found from anywhere.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from selfedit.cli import main
from selfedit.config import Recipe
from selfedit.errors import ConfigError, Interrupted, LedgerError, ModelError
from selfedit.ledger import Ledger, Reader
from selfedit.library import Library
from selfedit.store import runs
from selfedit.system import environment
from selfedit.system import interrupts as stop


def make(root: Path, name: str, command: str = "learn") -> Path:
    with Ledger.create(root / name, command=command, recipe=Recipe(), environment={}):
        pass
    return root / name


def test_finding(tmp_path: Path) -> None:
    first, second = make(tmp_path, "20260101-1-learn-aaaa"), make(tmp_path, "20260102-1-learn-bbbb")
    trained = make(tmp_path, "20260103-1-train-cccc", "train")
    assert runs.find(tmp_path, "latest") == trained
    assert runs.find(tmp_path, "latest", ("learn", "demo")) == second
    assert runs.find(tmp_path, "20260101") == first == runs.find(tmp_path, str(first))
    with pytest.raises(LedgerError, match=r"'2026' may be 20260101-1-learn-aaaa or"):
        runs.find(tmp_path, "2026")
    with pytest.raises(LedgerError, match=r"no run 'learn-bbbb' in .*; the nearest is '20260102-1-learn-bbbb'"):
        runs.find(tmp_path, "learn-bbbb")


def test_where_runs_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEDIT_RUNS", "/elsewhere")
    assert runs.root() == Path("/elsewhere") and runs.root(Path("here")) == Path("here")
    monkeypatch.setenv("SELFEDIT_RUNS", "")
    assert runs.root() == Path("runs")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "x"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_full_disk(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(LedgerError, match="free some space, then go on with: selfedit learn --resume"), runs.begun(tmp_path, "learn", Recipe()):
        raise ValueError("wrapped") from error
    assert not runs.is_full(ValueError("something else"))


def test_ctrl_c_that_a_library_turned_into_another_error(tmp_path: Path) -> None:
    stopped = pytest.raises(Interrupted, match="resume with: selfedit eval --resume")
    with stopped as caught, stop.listening(), runs.begun(tmp_path, "eval", Recipe()):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ModelError("could not import") from None
    assert caught.value.exit_code == 130
    [folder] = tmp_path.iterdir()
    with Reader(folder) as reader:
        assert reader.info().status == "interrupted"


def test_a_demo_is_resumed_by_learn(tmp_path: Path) -> None:
    stopped = pytest.raises(Interrupted, match=r"resume with: selfedit learn --resume \d{8}-\d{6}-demo-[0-9a-f]{4}$")
    with stopped, runs.begun(tmp_path, "demo", Recipe()):
        raise KeyboardInterrupt
    with runs.taken_up(tmp_path, "latest", "learn") as ledger:
        assert ledger.recipe == Recipe()


@pytest.mark.parametrize("reason", [ValueError("the real reason"), ConfigError("the real reason"), OSError("the real reason")])
def test_what_fails_before_a_run_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: Exception) -> None:
    def fails() -> dict[str, str]:
        raise reason

    monkeypatch.setattr(environment, "record", fails)
    with pytest.raises(type(reason), match=r"^the real reason$"), runs.begun(tmp_path / "runs", "learn", Recipe()):
        pass
    assert not (tmp_path / "runs").exists()


def test_what_fails_later(tmp_path: Path) -> None:
    with (
        pytest.raises(runs.Unexpected, match=r"unexpected ZeroDivisionError: 1 / 0 .*error\.log.*selfedit eval --resume"),
        runs.begun(tmp_path, "eval", Recipe()),
    ):
        raise ZeroDivisionError("1 / 0\nand more")
    [folder] = tmp_path.iterdir()
    assert "ZeroDivisionError: 1 / 0" in (folder / runs.LOG).read_text(encoding="utf-8")


def test_relative_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    (home / "mill.txt").write_text("The mill at Orlow was built by Ada Brenk in 1802. It burned down in 1833. Since then the river runs free.")
    monkeypatch.setenv("SELFEDIT_RUNS", "deep/runs")
    monkeypatch.chdir(home)
    assert main(["learn", "mill.txt", "--engine", "fake", "--propose.candidates", "1", "--quiet"]) == 0
    [folder] = (home / "deep" / "runs").glob("2*")
    assert {entry.run for entry in Library(Path("deep/runs")).entries()} == {folder.name}
    assert main(["ask", "Who built the mill?", "--quiet"]) == 0
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("SELFEDIT_RUNS", "../home/deep/runs")
    for name in ("latest", folder.name[:8], str(folder), f"../home/deep/runs/{folder.name}"):
        assert runs.find(runs.root(), name).resolve() == folder
        assert main(["ask", "Who built the mill?", "--quiet", "--run", name]) == 0
        assert main(["learn", "--resume", name, "--quiet"]) == 0
    assert main(["ask", "Who built the mill?", "--quiet"]) == 0
    assert main(["ask", "Who built the mill?", "--quiet", "--runs", str(home / "deep" / "runs")]) == 0
    assert len(Library(home / "deep" / "runs").history()) == 1 and not list(elsewhere.iterdir())
