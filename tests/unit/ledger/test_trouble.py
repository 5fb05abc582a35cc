"""When things go wrong, one line says what to do, and what was finished is safe.

1. A second writer is refused, and is told who has the run.
2. What is no ledger, damaged, missing or newer is refused in words.
3. A full disk is said, and the run goes on where it stopped once there is room.
4. Readers see whole steps while a writer works, and work on a folder that cannot be written.
5. The list of runs survives damaged ones; what a training run came to is its last round.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.ledger import made_up

from selfedit.errors import LedgerError
from selfedit.ledger import Ledger, Reader, runs
from selfedit.types import Result, Task

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with made_up.begin(tmp_path / "run") as ledger:
        made_up.run(ledger)
    return tmp_path / "run"


def test_a_second_writer_is_refused(run: Path):
    command = [sys.executable, "-m", "tests.unit.ledger.made_up", str(run), "0"]
    with Ledger.open(run):
        with pytest.raises(LedgerError, match=f"run run is in use by process {os.getpid()}"):
            Ledger.open(run)
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"in use by process {os.getpid()}" in second.stderr
        with pytest.raises(LedgerError, match="in use"):
            made_up.begin(run)
    Ledger.open(run).close()
    with pytest.raises(LedgerError, match="already holds a run"):
        made_up.begin(run)


def damage_header(file: Path) -> None:
    file.write_bytes(b"not a database at all" * 100)


def damage_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def someone_elses(file: Path) -> None:
    file.unlink()
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE run (x)")
    db.close()


@pytest.mark.parametrize("damage", [damage_header, damage_middle, truncate, empty, someone_elses])
def test_a_damaged_ledger_is_refused_in_words(run: Path, damage):
    damage(run / "ledger.db")
    with pytest.raises(LedgerError, match="is damaged") as refusal:
        Ledger.open(run)
    assert "\n" not in str(refusal.value)
    with pytest.raises(LedgerError, match="damaged"), Reader(run) as reader:
        reader.info()
    [summary] = runs(run.parent)
    assert (summary.id, summary.status) == ("run", "damaged")
    assert "damaged" in summary.problem


def test_a_missing_or_newer_ledger_is_refused_in_words(run: Path, tmp_path: Path):
    for opener in (Ledger.open, Reader):
        with pytest.raises(LedgerError, match="no run"):
            opener(tmp_path / "nowhere")
    db = sqlite3.connect(run / "ledger.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    for opener in (Ledger.open, Reader):
        with pytest.raises(LedgerError, match=r"has schema 99.*newer selfedit: upgrade"):
            opener(run)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 512 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", folder], capture_output=True, check=False)
    if not mounted or mounted.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path):
    big = Task("big", "", "x" * 2**20)
    with made_up.begin(small_disk / "run") as ledger:
        ledger.step("tasks", Task, lambda: [made_up.task(0)])
        with pytest.raises(LedgerError, match="free some space, then resume run run"):
            ledger.step("more", Task, lambda: [big])
        digest = ledger.content_hash()
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    with Ledger.open(small_disk / "run") as ledger:
        assert ledger.content_hash() == digest
        assert ledger.step("more", Task, lambda: [big]) == [big]


def test_no_room_to_begin(small_disk: Path):
    (small_disk / "ballast").write_bytes(b"x" * (512 * 1024 - 4096))
    with pytest.raises(LedgerError, match="free some space"):
        made_up.begin(small_disk / "run")
    (small_disk / "ballast").unlink()
    made_up.begin(small_disk / "run").close()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_file_that_may_not_grow_loses_nothing(tmp_path: Path):
    program = f"""
import resource, signal
from pathlib import Path
from selfedit.types import Task
from tests.unit.ledger import made_up
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with made_up.begin(Path({str(tmp_path / "run")!r})) as ledger:
    ledger.step("tasks", Task, lambda: [made_up.task(0)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18))
    ledger.step("more", Task, lambda: [Task("big", "", "x" * 2**20)])
"""
    failed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "LedgerError: no room left" in failed.stderr
    with Ledger.open(tmp_path / "run") as ledger:
        assert ledger.is_finished("tasks")
        assert not ledger.is_finished("more")


def test_reading_while_writing(tmp_path: Path):
    with made_up.begin(tmp_path / "run") as ledger, Reader(tmp_path / "run") as reader:
        seen = []
        made_up.run(ledger, lambda: seen.append(len(reader.steps())))
        assert seen == list(range(made_up.STEPS))
        with reader.snapshot():
            before = reader.steps()
            ledger.step("late", Task, lambda: [Task("late", "", "")])
            assert reader.steps() == before
        assert len(reader.steps()) == made_up.STEPS + 1


def test_reading_where_nothing_can_be_written(run: Path, small_disk: Path):
    shutil.copytree(run, small_disk / "run")
    with Reader(run) as reader:
        digest = reader.content_hash()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        with Reader(small_disk / "run") as reader:
            assert reader.info().status == "finished"
            assert reader.content_hash() == digest
        assert [summary.status for summary in runs(small_disk)] == ["finished"]
        with pytest.raises(LedgerError):
            Ledger.open(small_disk / "run")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


def test_the_list_of_runs(run: Path):
    root = run.parent
    (root / "empty").mkdir()
    shutil.copytree(run, root / "broken")
    damage_header(root / "broken" / "ledger.db")
    with made_up.begin(root / "newer"):
        listed = {summary.id: summary for summary in runs(root)}
    assert {name: summary.status for name, summary in listed.items()} == {"run": "finished", "broken": "damaged", "newer": "running"}
    assert (listed["run"].before, listed["run"].after, listed["run"].model) == (0.0, 1.0, "smollm2-135m")
    assert listed["newer"].before is None
    assert [summary.id for summary in runs(root)] == ["newer", "run", "broken"]
    assert runs(root / "nowhere") == []


def test_what_a_training_run_came_to(tmp_path: Path):
    task = made_up.task(0)
    with made_up.begin(tmp_path / "run") as ledger:
        ledger.step("held-out", Task, lambda: [task])
        for row, correct, after in (("base", False, None), ("untrained", False, 0.0), ("round-1", False, 0.0), ("round-2", True, 1.0)):
            ledger.step(row, Result, lambda row=row, correct=correct: [Result(row, task.id, made_up.answers(task.report_questions, correct))])
            [summary] = runs(tmp_path)
            assert (summary.before, summary.after) == (0.0, after)
