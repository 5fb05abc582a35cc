"""Commands in processes of their own, so that they can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from selfedit.cli import main
from selfedit.errors import LedgerError
from selfedit.ledger import Reader, Step

CORPUS = str(files("selfedit").joinpath("data/corpus.jsonl"))
WORK = ("learn", CORPUS, "--engine", "fake", "--limit", "10", "--propose.candidates", "3", "--chunk", "4", "--json", "--quiet")
"""A run of about a second and fourteen steps."""


def typed(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Standard output of a command that has to work."""
    capsys.readouterr()
    code = main(args)
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def begin(folder: Path, args: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """A command under way."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SELFEDIT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "selfedit", *args],
        cwd=folder,
        env=variables | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 60) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def result(folder: Path, args: Sequence[str]) -> dict[str, Any]:
    """The JSON of a command that has to work."""
    code, out, err = finish(begin(folder, args))
    assert code == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def run_of(folder: Path) -> Path | None:
    """The only run there is, once its ledger is."""
    return next((path.parent for path in folder.glob("runs/*/ledger.db")), None)


def steps(run: Path) -> list[Step]:
    """Its finished steps."""
    with Reader(run) as reader:
        return reader.steps()


def stop_when(process: subprocess.Popen[str], ready: Callable[[], bool], number: signal.Signals, after_s: float = 0) -> None:
    """Send a signal as soon as something is so, or some time after."""
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(LedgerError):
            if ready():
                time.sleep(after_s)
                process.send_signal(number)
                return
        time.sleep(0.002)
    raise AssertionError(f"it never came to that: exit code {process.poll()}")
