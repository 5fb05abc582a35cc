"""One writer a run: a lock that the operating system takes back when its process ends, however it ends."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from selfedit.errors import LedgerError

_FILE = "run.lock"
_PATIENCE_S = 0.3
"""Longer than `is_held` holds the lock while it looks."""


def acquire(folder: Path) -> FileLock:
    """Take the run for this process. Raises LedgerError naming the process that has it."""
    lock = FileLock(folder / _FILE)
    try:
        lock.acquire(timeout=_PATIENCE_S, poll_interval=0.05)
    except Timeout as error:
        raise LedgerError(f"run {folder.name} is in use by {_holder(folder)}: wait until it ends, or stop it, then try again") from error
    (folder / _FILE).write_text(f"{os.getpid()}\n", encoding="ascii")
    return lock


def is_held(folder: Path) -> bool:
    """Whether a living process writes this run. A folder that cannot be written holds no writer."""
    if not (folder / _FILE).exists():
        return False
    lock = FileLock(folder / _FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def _holder(folder: Path) -> str:
    try:
        pid = (folder / _FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):  # Windows lets nobody read a locked file
        pid = ""
    return f"process {pid}" if pid else "another process"
