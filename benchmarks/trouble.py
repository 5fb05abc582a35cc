"""A piece of work in a process that is killed, or runs out of disk, at a chosen moment."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["none", "kill after", "kill at", "full at", "full from", "full"]
CHANGES = frozenset({"os.rename", "os.mkdir", "os.link"})
LOOKS = CHANGES | {"open", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "sqlite3.connect"}
"""Events of Python's audit by which somebody is at work on files; changes need room on the disk, as some ways to open a file do."""
_WRITES = os.O_WRONLY | os.O_RDWR
PROCESSES = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Trouble:
    """What happens to the work, and when.

    `kill after`: SIGKILL after `at` seconds. `kill at`: SIGKILL at its `at`-th look at a file below the folder. `full at`: from its `at`-th change to
    a file on, every change fails as on a full disk. `full from`: no file can be longer than `at` bytes. `full`: the disk has room for `at` bytes.
    """

    kind: Kind = "none"
    at: float = 0


@dataclass(frozen=True)
class Ended:
    """How the work ended: its exit code (-9: killed), what it printed on standard error, and wall-clock seconds.

    `looks` at files, and `changes` to them, are counted where it was not killed.
    """

    code: int
    said: str
    wall_s: float
    looks: int = 0
    changes: int = 0


def prepare(torch: bool) -> None:
    """What every process begins with."""
    os.environ["OMP_NUM_THREADS"] = "1"
    PROCESSES.set_forkserver_preload(
        ["benchmarks.trouble", "selfedit.api", "selfedit.loop", "selfedit.library.force", *(["selfedit.engine.torch"] if torch else [])]
    )


def troubled(work: Callable[[], int], folder: Path, trouble: Trouble) -> Ended:
    """Do it; files below `folder` are what its trouble is with."""
    with tempfile.TemporaryDirectory(prefix="selfedit-soak-") as elsewhere, _filled(folder, trouble):
        out, began = Path(elsewhere), time.perf_counter()
        process = PROCESSES.Process(target=_work, args=(work, folder, trouble, out))
        process.start()
        process.join(trouble.at if trouble.kind == "kill after" else None)
        if process.is_alive():
            process.kill()
            process.join()
        assert process.exitcode is not None
        counted = out / "counted"
        looks, changes = map(int, counted.read_text(encoding="ascii").split()) if counted.exists() else (0, 0)
        said = (out / "err").read_text(encoding="utf-8") if (out / "err").exists() else ""
        return Ended(process.exitcode, said, time.perf_counter() - began, looks, changes)


@contextmanager
def _filled(folder: Path, trouble: Trouble) -> Iterator[None]:
    """A disk of its own with little room, for the time being."""
    ballast = folder / "ballast"
    if trouble.kind == "full":
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(folder).free - int(trouble.at)))
    try:
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _work(work: Callable[[], int], folder: Path, trouble: Trouble, out: Path) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(out / name, os.O_WRONLY | os.O_CREAT), number)
    ear = Ear(folder, trouble)
    sys.addaudithook(ear.hear)
    if trouble.kind == "full from":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(trouble.at), resource.RLIM_INFINITY))
    code = work()
    sys.stdout.flush()
    sys.stderr.flush()
    (out / "counted").write_text(f"{ear.looks} {ear.changes}", encoding="ascii")
    os._exit(code)


class Ear:
    """Counts looks at files below `folder`, and changes to them, and does what was chosen when the number is reached."""

    def __init__(self, folder: Path, trouble: Trouble) -> None:
        self.below, self.trouble, self.looks, self.changes = str(folder), trouble, 0, 0

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """An event of Python's audit."""
        if event not in LOOKS or not any(self.below in str(one) for one in args[:2]):
            return
        self.looks += 1
        self.changes += event in CHANGES or (event == "open" and bool(args[2] & _WRITES))
        if self.trouble.kind == "kill at" and self.looks == self.trouble.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble.kind == "full at" and self.changes >= self.trouble.at and event != "os.remove":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
