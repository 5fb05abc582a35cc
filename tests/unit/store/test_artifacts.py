"""Adapters in a run folder.

1. An adapter is on the disk, whole, before it has its name; one that was there before is whole until then. Whatever interrupts it, either is left.
2. What was sealed is accepted as long as no byte of its configuration or weights changes; files that somebody lays beside them do not count.
3. What was changed or is gone is refused in one line that names the adapter and the run.
4. A copy is whole or not there, and touches nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from selfedit.errors import LedgerError
from selfedit.store.artifacts import check, copy_adapters, seal, write_adapter

FILES = ("adapter_config.json", "adapter_model.safetensors")


class Stopped(Exception):
    """As a kill, for what comes after it in the process."""


def exported(content: str) -> Callable[[Path], None]:
    def export(folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text(f"{content} {name}")

    return export


def content(folder: Path) -> str | None:
    """What was exported to it, None where it is not whole."""
    found = {(folder / name).read_text().split()[0] for name in FILES if (folder / name).exists()}
    return found.pop() if folder.is_dir() and len(found) == 1 and len(list(folder.iterdir())) == 2 else None


def watch(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[str]:
    """The calls that reach the disk, in order; the one with number `stop_at` does not happen."""
    calls: list[str] = []

    def call(name: str) -> None:
        if len(calls) == stop_at:
            raise Stopped
        calls.append(name)

    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        call(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        call(f"rename {path.name} {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    return calls


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads the names of open files from /proc")
def test_written_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    folder = tmp_path / "run" / "policy" / "round-1"
    calls = watch(monkeypatch)
    write_adapter(folder, exported("first"))
    named = calls.index("rename round-1.new round-1")
    assert {f"sync {name}" for name in (*FILES, "round-1.new")} == set(calls[:named]) and calls[named + 1 :] == ["sync policy", "sync run"]
    write_adapter(folder, exported("second"))
    assert content(folder) == "second" and [path.name for path in folder.parent.iterdir()] == ["round-1"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads the names of open files from /proc")
@pytest.mark.parametrize("stop_at", range(8))
def test_stopped_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int) -> None:  # promise 1
    folder = tmp_path / "adapter"
    write_adapter(folder, exported("first"))
    with monkeypatch.context() as patch:
        calls = watch(patch, stop_at)
        try:
            write_adapter(folder, exported("second"))
        except Stopped:
            assert len(calls) == stop_at
    assert "first" in (content(folder), content(tmp_path / "adapter.old")) or content(folder) == "second"
    write_adapter(folder, exported("third"))
    assert content(folder) == "third" and [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_export_that_fails_leaves_the_old_one(tmp_path: Path) -> None:  # promise 1
    def fails(folder: Path) -> None:
        exported("second")(folder)
        raise OSError("no room")

    write_adapter(tmp_path / "adapter", exported("first"))
    with pytest.raises(OSError, match="no room"):
        write_adapter(tmp_path / "adapter", fails)
    assert content(tmp_path / "adapter") == "first"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name in ("adapter", "policy/round-1"):
        write_adapter(tmp_path / "run" / name, exported(name.replace("/", "-")))
    return tmp_path / "run"


def test_what_was_sealed_is_accepted(run: Path) -> None:  # promise 2
    for name in ("adapter", "policy/round-1"):
        sealed = seal(run, name)
        assert (sealed.name, sealed.path, len(sealed.sha256)) == (name, name, 64)
        assert check(run, sealed) == run / name
        for beside in (".DS_Store", "._adapter_model.safetensors", "README.md"):
            (run / name / beside).write_bytes(b"\x00")
        (run / name / "checkpoints").mkdir()
        assert check(run, sealed) == run / name and seal(run, name) == sealed


@pytest.mark.parametrize("name", FILES)
def test_what_was_changed_is_refused(run: Path, name: str) -> None:  # promise 3
    sealed, file = seal(run, "adapter"), run / "adapter" / name
    for change in (lambda: file.write_bytes(file.read_bytes()[:-1] + b"!"), lambda: file.write_bytes(b""), file.unlink):
        change()
        with pytest.raises(
            LedgerError, match=r"^adapter adapter of run run is no longer the one that the run recorded.*restore .*adapter from a copy"
        ):
            check(run, sealed)


def test_what_is_gone_is_refused(run: Path) -> None:  # promise 3
    sealed = seal(run, "policy/round-1")
    (run / "policy" / "round-1").rename(run / "policy" / "round-2")
    with pytest.raises(LedgerError, match=r"^adapter policy/round-1 of run run is gone: restore .*round-1 from a copy"):
        check(run, sealed)


def test_a_copy_is_whole_or_not_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    (tmp_path / "mine.part").mkdir()
    (tmp_path / "mine.part" / "precious").touch()
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        watch(patch, 0)
        with pytest.raises(Stopped):
            copy_adapters({"": run / "adapter"}, tmp_path / "mine")
    assert sorted(tmp_path.rglob("*")) == before
    copy_adapters({"": run / "adapter"}, tmp_path / "deep" / "mine")
    assert content(tmp_path / "deep" / "mine") == "adapter" and content(run / "adapter") == "adapter"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["mine"] and (tmp_path / "mine.part" / "precious").exists()
