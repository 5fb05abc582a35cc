"""Opening, checking and hashing the SQLite file of a run; SQLite's errors in words that say what to do."""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfedit.disk import sync_folder
from selfedit.errors import LedgerError
from selfedit.ledger import older, records

FILE = "ledger.db"
APPLICATION_ID = 0x5EA1ED17
SCHEMA_VERSION = 3

_CONTENT = {
    "notes": "SELECT key, value FROM notes WHERE kind = 'content' ORDER BY key",
    "steps": "SELECT position, name, kind, records, train_tokens, sample_tokens FROM steps ORDER BY position",
    "records": "SELECT step, position, kind, body FROM records ORDER BY step, position",
    "replies": "SELECT key, judge, served, prompt, reply FROM replies ORDER BY key",
}
"""What was done and found, beside the recipe. Left out is when, where, how fast and by which version: in that, two runs that are the same differ."""

_PLACES = (("model",), ("docs",), ("eval_docs",), ("cold_start", "examples"))
"""Keys of a recipe that say where something is; what is there is noted by its digest when the run begins."""


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the disk into a LedgerError of one line."""
    try:
        yield
    except ValidationError as error:
        raise LedgerError(f"a record of run {folder.name} cannot be read: {records.explain(error)}") from error
    except sqlite3.Error as error:
        raise LedgerError(_explain(error, folder)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise LedgerError(_full(folder)) from error
        raise LedgerError(f"{folder}: {error.strerror or error}") from error


def _full(folder: Path) -> str:
    return f"no room left to write {folder / FILE}: free some space, then resume run {folder.name}; every finished step is safe"


def _explain(error: sqlite3.Error, folder: Path) -> str:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):
        return _full(folder) if name == "SQLITE_FULL" else f"{_full(folder)} (or the disk fails: {error}, {name})"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return f"{folder / FILE} is damaged or not a ledger ({error}): restore it from a copy, or start a new run"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{folder / FILE} is held by another program ({error}): close it and try again"
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return f"{folder / FILE} cannot be opened ({error}): check the permissions of the folder"
    if name.startswith("SQLITE_CONSTRAINT"):
        return f"records do not fit the ledger of run {folder.name}: {error}"
    return f"{folder / FILE}: {error}"


def create(folder: Path, run: Mapping[str, str]) -> None:
    """A new ledger with its row of table `run`: complete or not there at all, for it is built beside its place and renamed."""
    draft = folder / f"{FILE}.new"
    draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft, isolation_level=None)) as db:
        db.executescript("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL; BEGIN;" + _schema())
        insert(db, "run", id=1, **run)
        db.execute("COMMIT")
    draft.replace(folder / FILE)
    sync_folder(folder)


def _schema() -> str:
    tables = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    return f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; {tables}"


def open_writable(folder: Path) -> sqlite3.Connection:
    """The ledger of a run for writing, checked from end to end; a finished one of an older version for reading alone.

    Raises sqlite3.Error, or LedgerError for one of an older version that is not finished.
    """
    _require(folder)
    db = sqlite3.connect((folder / FILE).absolute().as_uri() + "?mode=rw", uri=True, isolation_level=None)
    try:
        if _schema_of(folder, db) != SCHEMA_VERSION:
            _require_finished(folder, db)
            db.close()
            return open_readonly(folder)
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise LedgerError(f"{folder / FILE} is damaged ({found}): restore it from a copy, or start a new run")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        db.close()
        raise
    return db


def open_readonly(folder: Path) -> sqlite3.Connection:
    """The ledger of a run for reading, beside a writer if there is one. Raises sqlite3.Error or LedgerError."""
    _require(folder)
    address = (folder / FILE).absolute().as_uri()
    db = sqlite3.connect(f"{address}?mode=ro", uri=True, isolation_level=None)
    try:
        schema = _schema_of(folder, db)
    except sqlite3.OperationalError:
        db.close()
        if (folder / f"{FILE}-wal").exists():
            raise
        # A finished run on a disk that cannot be written: SQLite has nowhere to put its shared memory, and needs none.
        db = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None)
        schema = _schema_of(folder, db)
    if schema in older.SCHEMAS:
        older.present(db)
    return db


def _require(folder: Path) -> None:
    if not (folder / FILE).is_file():
        raise LedgerError(f"no run at {folder}: there is no {FILE} in it; `selfedit runs` lists the runs there are")


def _require_finished(folder: Path, db: sqlite3.Connection) -> None:
    status, version = db.execute("SELECT status, version FROM run").fetchone()
    if status != "finished":
        raise LedgerError(
            f"run {folder.name} was begun by selfedit {version} and is not finished: resume it with that version "
            f"(pip install selfedit=={version}), or start a new run"
        )


def _schema_of(folder: Path, db: sqlite3.Connection) -> int:
    """The schema's version. Raises LedgerError for a file that is no ledger, or that this version cannot read."""
    application_id = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if application_id != APPLICATION_ID:
        raise LedgerError(f"{folder / FILE} is damaged or not a ledger: restore it from a copy, or start a new run")
    if version not in (SCHEMA_VERSION, *older.SCHEMAS):
        wanted = "a newer selfedit: upgrade it (pip install -U selfedit)" if version > SCHEMA_VERSION else "an older selfedit: use that one"
        raise LedgerError(f"{folder / FILE} has schema {version}, this selfedit reads {SCHEMA_VERSION}; it was written by {wanted}")
    return version


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise


def insert(db: sqlite3.Connection, table: str, **values: Any) -> None:
    """One row."""
    db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(f':{column}' for column in values)})", values)


def content_hash(db: sqlite3.Connection) -> str:
    """SHA-256, hex, over what was done and found, in the order it was recorded; clocks, places and versions left out.

    Two runs of one recipe (its seed is part of it) on one machine have the same hash, wherever they are and however often they were killed and
    resumed.
    """
    digest = hashlib.sha256(f"{json.dumps(_settings(db), sort_keys=True)}\n".encode())
    for table, query in _CONTENT.items():
        digest.update(f"{table}\n".encode())
        for row in db.execute(query):
            digest.update(f"{json.dumps(row)}\n".encode())
    return digest.hexdigest()


def _settings(db: sqlite3.Connection) -> dict[str, Any]:
    """The recipe without its places."""
    recipe: dict[str, Any] = json.loads(db.execute("SELECT recipe FROM run").fetchone()[0])
    for *path, last in _PLACES:
        table = recipe
        for key in path:
            table = table.get(key, {})
        table.pop(last, None)
    return recipe
