"""The ledger as a run writes it: steps that are computed once, and metadata."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from filelock import BaseFileLock

from selfedit.config import Recipe, parse_recipe
from selfedit.disk import write_atomically
from selfedit.errors import Interrupted, LedgerError
from selfedit.ledger import database, lock, records
from selfedit.ledger.older import upgraded
from selfedit.types import JudgeReply

R = TypeVar("R")
Status = Literal["running", "finished", "failed", "interrupted"]
"""What became of a run."""

_NOTHING = {"train_tokens": 0, "sample_tokens": 0, "train_cpu_s": 0.0, "sample_cpu_s": 0.0}
"""What is counted of a step as it begins."""


class Ledger:
    """The ledger of one run, held by this process alone. Use it as a context manager: an exception marks the run failed or interrupted.

    Everything here raises LedgerError, one line that says what to do, when the disk is full, the file damaged or the run in use.
    """

    def __init__(self, folder: Path, db: sqlite3.Connection, held: BaseFileLock) -> None:
        self.folder = folder
        self._db = db
        self._lock = held
        self._counted: dict[str, float] = dict(_NOTHING)
        self._last = 0.0

    # ------------------------------------------------------------ opening

    @classmethod
    def create(cls, folder: Path, *, command: str, recipe: Recipe, environment: Mapping[str, str]) -> Ledger:
        """Begin a run in `folder` (its name is the run's id), with a copy of the recipe beside the ledger.

        `environment` says what it ran on: versions, code revision, machine.
        """
        with database.explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held = lock.acquire(folder)
            try:
                if (folder / database.FILE).exists():
                    raise LedgerError(f"{folder} already holds a run: resume it, or choose another folder")
                recipe_json = recipe.model_dump_json(indent=2)
                write_atomically(folder / "recipe.json", f"{recipe_json}\n")
                run = {"run_id": folder.name, "command": command, "recipe": recipe_json, "environment": json.dumps(dict(environment))}
                database.create(folder, run | {"version": version("selfedit"), "status": "running", "created_at": _now()})
                return cls(folder, database.open_writable(folder), held)
            except BaseException:
                held.release()
                raise

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Take up a run again. Finished steps are read from the ledger, the first unfinished one is computed."""
        with database.explained(folder):
            if not (folder / database.FILE).is_file():
                raise LedgerError(f"no run to resume at {folder}: `selfedit runs` lists the runs there are")
            held = lock.acquire(folder)
            try:
                db = database.open_writable(folder)
                if db.execute("SELECT status FROM run").fetchone()[0] != "finished":  # else there is nothing to write, perhaps no way to
                    db.execute("UPDATE run SET status = 'running', finished_at = NULL")
            except BaseException:
                held.release()
                raise
            return cls(folder, db, held)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            status = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit | Interrupted) else "failed"
            with suppress(sqlite3.Error):  # the first error is the one to show
                self._db.execute("UPDATE run SET status = ?, finished_at = ? WHERE status = 'running'", (status, _now()))
        self.close()

    def close(self) -> None:
        """Give the run free. Safe to call twice."""
        self._db.close()
        self._lock.release()

    # ------------------------------------------------------------ what a run does

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def recipe(self) -> Recipe:
        """The recipe the run was begun with. Raises ConfigError where this version of selfedit no longer knows one of its keys."""
        with database.explained(self.folder):
            text = self._db.execute("SELECT recipe FROM run").fetchone()[0]
        return parse_recipe(upgraded(json.loads(text)), source=f"recipe of run {self.run_id}")

    def step(self, name: str, kind: type[R], compute: Callable[[], Sequence[R]]) -> list[R]:
        """The records of step `name`: from the ledger if it is finished, otherwise computed, recorded in one transaction and read back.

        `kind` is one of `records.KINDS`. Raises LedgerError, and records nothing, where one of the records cannot be true or cannot be read back.
        """
        records.check_kind(kind)
        with database.explained(self.folder):
            done = self._db.execute("SELECT position, kind FROM steps WHERE name = ?", (name,)).fetchone()
        if done is not None:
            position, recorded_kind = done
            if recorded_kind != kind.__name__:
                raise LedgerError(
                    f"step {name!r} of run {self.run_id} holds {recorded_kind}, not {kind.__name__}: resume with the version that began it"
                )
            with database.explained(self.folder):
                return records.read(self._db, kind, position)
        return self._compute(name, kind, compute)

    def count(self, *, train_tokens: int = 0, sample_tokens: int = 0) -> None:
        """Add to the tokens of the step that is being computed, right after they were trained on or written: called from within its `compute`.

        The CPU's time since the last count went into them. What is counted between two steps is not recorded: it belongs to none of them.
        """
        now = time.process_time()
        for kind, tokens in (("train", train_tokens), ("sample", sample_tokens)):
            if tokens:
                self._counted[f"{kind}_tokens"] += tokens
                self._counted[f"{kind}_cpu_s"] += now - self._last
        self._last = now

    def is_finished(self, name: str) -> bool:
        """Whether step `name` is recorded."""
        with database.explained(self.folder):
            return self._db.execute("SELECT 1 FROM steps WHERE name = ?", (name,)).fetchone() is not None

    def note(self, key: str, value: Any, kind: Literal["content", "places"] = "content") -> None:
        """Metadata as JSON, once for each key: again with the same value is nothing, with another a LedgerError.

        `places` are folders and run ids, which the content hash leaves out.
        """
        text = json.dumps(value, sort_keys=True, allow_nan=False)
        with database.explained(self.folder):
            recorded = self._db.execute("SELECT value FROM notes WHERE key = ?", (key,)).fetchone()
            if recorded is None:
                database.insert(self._db, "notes", key=key, value=text, kind=kind)
            elif recorded[0] != text:
                raise LedgerError(f"note {key!r} of run {self.run_id} is already {recorded[0]}, and now {text}: start a new run")

    def add_note(self, key: str, value: Any) -> None:
        """Add to a list of notes about places and versions, which the content hash leaves out."""
        query = """
            INSERT INTO notes (key, value, kind) VALUES (:key, json_array(json(:value)), 'places')
            ON CONFLICT (key) DO UPDATE SET value = json_insert(value, '$[#]', json(:value))
        """
        with database.explained(self.folder):
            self._db.execute(query, {"key": key, "value": json.dumps(value, sort_keys=True, allow_nan=False)})

    def recall(self, key: str) -> JudgeReply | None:
        """A judge's reply that was remembered under this key."""
        with database.explained(self.folder):
            row = self._db.execute("SELECT key, judge, served, prompt, reply FROM replies WHERE key = ?", (key,)).fetchone()
        return JudgeReply(*row) if row else None

    def remember(self, reply: JudgeReply) -> None:
        """Keep a judge's reply, committed at once. Raises LedgerError where another judge, or another model behind its name, has replied before."""
        with database.explained(self.folder):
            before = self._db.execute("SELECT judge, served FROM replies LIMIT 1").fetchone()
            if before not in (None, (reply.judge, reply.served)):
                one, other = (f"{judge} ({served or 'model not named'})" for judge, served in (before, (reply.judge, reply.served)))
                raise LedgerError(f"run {self.run_id} was judged by {one} and now would be by {other}: two judges are never mixed; start a new run")
            with database.transaction(self._db):
                database.insert(self._db, "replies", **asdict(reply))

    def finish(self) -> None:
        """Say that the run came to its end; one that did not can be resumed."""
        with database.explained(self.folder):
            self._db.execute("UPDATE run SET status = 'finished', finished_at = ?", (_now(),))

    def content_hash(self) -> str:
        """SHA-256 of what was done and found; see `database.content_hash`."""
        with database.explained(self.folder):
            return database.content_hash(self._db)

    # ------------------------------------------------------------ inside a step

    def _compute(self, name: str, kind: type[R], compute: Callable[[], Sequence[R]]) -> list[R]:
        self._begin_count()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        made = compute()
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        cost = {"wall_s": wall_s, "cpu_s": cpu_s, **self._counted}
        with database.explained(self.folder), database.transaction(self._db):
            position: int = self._db.execute("SELECT count(*) FROM steps").fetchone()[0]
            database.insert(self._db, "steps", position=position, name=name, kind=kind.__name__, records=len(made), finished_at=_now(), **cost)
            return records.write(self._db, position, name, kind, made)

    def _begin_count(self) -> None:
        self._counted = dict(_NOTHING)
        self._last = time.process_time()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
