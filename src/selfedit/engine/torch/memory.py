"""Freed memory goes back to the system when too much of it has gathered.

`selfedit.system.process` has the allocator keep what is freed, because fetching it again is slow. But ragged batches ask for blocks of ever other
sizes, and leave holes that the next ones do not fit: in a long run what is kept grows without end, to many times what is in use.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path

from selfedit.system.environment import memory_bytes

ENOUGH = 13 * 2**28
"""Bytes that may be held on any machine: 3.25 GiB. Eight adapters train 4 % more slowly so than without a limit, with 1 GiB 11 %."""


class Allocator:
    """Watches what this process holds of the memory it may use, bytes."""

    def __init__(self, share: float = 0.25) -> None:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc has it, other C libraries do not
        self.trim = trim if os.environ.get("SELFEDIT_TUNE") != "0" else None
        self.share = share
        self.most = self.least = self.allowed()
        self.lock = threading.Lock()

    def allowed(self) -> float:
        """Bytes that may be held now: the memory of a virtual machine may grow while it runs."""
        return min(self.share * memory_bytes(), ENOUGH) if self.trim else 0.0

    def tidy(self) -> None:
        """Give back what is free once more than `share` of the memory, or more than `ENOUGH`, is held.

        What is in use may then grow by a tenth before it is done again.
        """
        self._give_back(self.most)

    def begin(self) -> None:
        """Before a call of the engine: give back what the last one left, where that is more than half of what may be held."""
        self._give_back(self.least / 2)

    def _give_back(self, above: float) -> None:
        if self.trim is None or held() <= above or not self.lock.acquire(blocking=False):
            return
        try:
            before, self.least = self.least, self.allowed()
            if held() > above + self.least - before:
                self.trim(0)
            self.most = max(self.least, 1.1 * held())
        finally:
            self.lock.release()


def held() -> int:
    """Bytes of memory that are this process's own now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


ALLOCATOR = Allocator()
