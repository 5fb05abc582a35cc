"""Which adapter version 0.1.0 had in force. It is read, never written: `selfedit.library` has what is in force since."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfedit.errors import LedgerError


@dataclass(frozen=True, slots=True)
class Head:
    """A run's adapter; `adapter` is a folder, relative paths count from where the heads are kept."""

    run_id: str
    adapter: str


@dataclass(frozen=True, slots=True)
class HeadChange:
    """One entry of the history: what was done (ISO 8601, UTC) and which head is in force since, None for the untrained model."""

    at: str
    action: Literal["push", "rollback"]
    head: Head | None


class Heads:
    """The heads of all runs below `root`, in `heads.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._file = root / "heads.json"

    def current(self) -> Head | None:
        """The adapter in force, None for the untrained model."""
        history = self.history()
        return history[-1].head if history else None

    def history(self) -> list[HeadChange]:
        """Every change since the beginning, the oldest first. Raises LedgerError for a damaged file."""
        if not self._file.exists():
            return []
        try:
            entries = json.loads(self._file.read_text(encoding="utf-8"))["history"]
            return [HeadChange(entry["at"], entry["action"], Head(**entry["head"]) if entry["head"] else None) for entry in entries]
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(f"{self._file} is damaged ({error}): restore it from a copy, or delete it to use the untrained model") from error
