"""A full disk, at whatever point, is one line that says to free some space; what was finished is kept, and the run goes on when there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.house import WORK, begin, finish, result, run_of


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of this size. Skips where none can be made."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small file system takes root")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("kib", [16, 64, 200, 400])
def test_one_line(tmp_path: Path, kib: int, undisturbed: str) -> None:
    with small_disk(tmp_path / "disk", kib) as disk:
        code, out, err = finish(begin(disk, WORK))
        assert code not in (0, 70) and out == "" and err.startswith("selfedit: ") and len(err.splitlines()) == 1, err
        assert "free some space" in err
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        run = run_of(disk)
        found = result(disk, ("learn", "--resume", run.name, "--json", "--quiet") if run else WORK)
    assert found["content_hash"] == undisturbed
