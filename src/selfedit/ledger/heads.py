"""Which adapter is in force: an append-only history, so that everything can be taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from selfedit.disk import write_atomically
from selfedit.errors import LedgerError
from selfedit.ledger.database import explained

_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Head:
    """A run's adapter; `adapter` is a folder, relative paths count from where the heads are kept."""

    run_id: str
    adapter: str


@dataclass(frozen=True, slots=True)
class HeadChange:
    """One entry of the history: what was done (ISO 8601, UTC) and which head is in force since, None for the model as it came."""

    at: str
    action: Literal["push", "rollback"]
    head: Head | None


class Heads:
    """The heads of all runs below `root`, in `heads.json`. A change is whole or not there, and two processes take turns."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._file = root / "heads.json"

    def current(self) -> Head | None:
        """The adapter in force, None for the model as it came."""
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
            raise LedgerError(f"{self._file} is damaged ({error}): restore it from a copy, or delete it to use the model as it came") from error

    def replaced(self, run_id: str) -> Head | None:
        """The adapter that was in force when a run's was put there for the last time; None for the model as it came, or where it never was."""
        history = self.history()
        pushed = [number for number, change in enumerate(history) if change.action == "push" and change.head and change.head.run_id == run_id]
        return history[pushed[-1] - 1].head if pushed and pushed[-1] else None

    def push(self, head: Head) -> None:
        """Put a new adapter in force."""
        with self._alone():
            self._append(self.history(), "push", head)

    def rollback(self) -> Head | None:
        """Back to what was in force before; returns it, None for the model as it came. Raises LedgerError with nothing to take back."""
        with self._alone():
            history = self.history()
            stack = _stack(history)
            if not stack:
                raise LedgerError("nothing to roll back: the model is as it came")
            before = stack[-2] if len(stack) > 1 else None
            self._append(history, "rollback", before)
            return before

    def _append(self, history: list[HeadChange], action: Literal["push", "rollback"], head: Head | None) -> None:
        change = HeadChange(datetime.now(UTC).isoformat(timespec="milliseconds"), action, head)
        write_atomically(self._file, json.dumps({"history": [asdict(entry) for entry in (*history, change)]}, indent=1) + "\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(f"{self._file}.lock", timeout=_PATIENCE_S):
                    yield
            except Timeout as error:
                raise LedgerError(f"{self._file} is being changed by another process: try again in a moment") from error


def _stack(history: list[HeadChange]) -> list[Head]:
    """The heads that are still to be taken back, the current one last."""
    stack: list[Head] = []
    for change in history:
        if change.action == "push" and change.head is not None:
            stack.append(change.head)
        else:
            stack.pop()
    return stack
