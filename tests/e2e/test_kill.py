"""A run that is killed at any moment resumes and loses nothing that was finished.

1. Killed with SIGKILL at random moments, twenty of them or more, and resumed after each, runs end with the content hash of one that nobody disturbed.
2. A finished step is never done again: its record is the same, to the millisecond, after every resumption.
3. The adapter at the end is the undisturbed run's, byte for byte.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from tests.e2e.house import WORK, result, run_of, steps

from selfedit.cli import main
from selfedit.library import Library

KILLS = 22
MANY_STEPS = (*WORK, "--chunk", "1")
PROCESSES = multiprocessing.get_context("forkserver")  # each begins clean, and with everything imported already
PROCESSES.set_forkserver_preload(["selfedit.cli.work", "selfedit.cli.results", "selfedit.loop", "selfedit.policy.opening", "selfedit.engine.fake"])


def begin(*args: str) -> BaseProcess:
    process = PROCESSES.Process(target=main, args=(args,))
    process.start()
    return process


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    undisturbed = result(tmp_path, (*MANY_STEPS, "--runs", "undisturbed"))
    last = len(steps(Path(undisturbed["folder"])))
    rng, number = random.Random(0), 0
    kills: list[int] = []  # the steps that were finished
    while len(kills) < KILLS:
        number += 1
        runs = tmp_path / f"{number}" / "runs"
        for _ in range(6):
            finished = kill(runs, undisturbed["cost"]["wall_s"] * rng.random() ** 3)  # more often early: there steps are short
            kills += [finished] if finished < last else []
        found = result(tmp_path, ("learn", "--resume", "latest", "--json", "--quiet", "--runs", str(runs)))
        assert found["content_hash"] == undisturbed["content_hash"]
        assert found["adapters"].keys() == undisturbed["adapters"].keys()
        for title, folder in found["adapters"].items():
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                assert Path(folder, name).read_bytes() == Path(undisturbed["adapters"][title], name).read_bytes()
        assert Library(runs).version().digest == Library(tmp_path / "undisturbed").version().digest  # type: ignore[union-attr]
    assert len(set(kills)) >= 4, f"the kills came after these numbers of steps only: {kills}"


def kill(runs: Path, after_s: float) -> int:
    """Begin the run or go on with it, and kill it some time after it came to work. Returns the number of finished steps."""
    run = run_of(runs.parent)
    before = steps(run) if run else []
    resume = ("learn", "--resume", run.name, "--quiet", "--runs", str(runs)) if run else ()
    process = begin(*(resume or (*MANY_STEPS, "--runs", str(runs))))
    until = time.monotonic() + 30
    while not at_work(runs, process) and process.is_alive() and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(after_s)
    process.kill()
    process.join()
    run = run_of(runs.parent)
    after = steps(run) if run else []
    assert after[: len(before)] == before
    return len(after)


def at_work(runs: Path, process: BaseProcess) -> bool:
    """Whether the process holds the run."""
    return any(lock.read_text(encoding="ascii").strip() == str(process.pid) for lock in runs.glob("*/run.lock"))
