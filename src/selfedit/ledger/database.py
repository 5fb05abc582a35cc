"""Opening, checking and hashing the SQLite file of a run; SQLite's errors in words that say what to do."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from selfedit.errors import LedgerError

FILE = "ledger.db"
APPLICATION_ID = 0x5EA1ED17
SCHEMA_VERSION = 2

_NOT_CONTENT = {
    "run": {"run_id", "command", "environment", "version", "status", "created_at", "finished_at"},
    "steps": {"finished_at", "wall_s", "cpu_s", "train_cpu_s", "sample_cpu_s"},
    "artifacts": {"path"},
}
"""Columns of when, where and how fast: they differ between two runs that did and found the same."""


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the disk into a LedgerError of one line."""
    try:
        yield
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
        db.execute(f"INSERT INTO run (id, {', '.join(run)}) VALUES (1, {', '.join(f':{column}' for column in run)})", run)
        db.execute("COMMIT")
    draft.replace(folder / FILE)
    sync_folder(folder)


def _schema() -> str:
    tables = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    return f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; {tables}"


def open_writable(folder: Path) -> sqlite3.Connection:
    """The ledger of a run for writing, checked from end to end. Raises sqlite3.Error or LedgerError."""
    _require(folder)
    db = sqlite3.connect((folder / FILE).absolute().as_uri() + "?mode=rw", uri=True, isolation_level=None)
    try:
        _check(folder, db)
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
        _check(folder, db)
    except sqlite3.OperationalError:
        db.close()
        if (folder / f"{FILE}-wal").exists():
            raise
        # A finished run on a disk that cannot be written: SQLite has nowhere to put its shared memory, and needs none.
        db = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None)
        _check(folder, db)
    return db


def _require(folder: Path) -> None:
    if not (folder / FILE).is_file():
        raise LedgerError(f"no run at {folder}: there is no {FILE} in it; `selfedit runs` lists the runs there are")


def _check(folder: Path, db: sqlite3.Connection) -> None:
    application_id = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if application_id != APPLICATION_ID:
        raise LedgerError(f"{folder / FILE} is damaged or not a ledger: restore it from a copy, or start a new run")
    if version != SCHEMA_VERSION:
        wanted = "a newer selfedit: upgrade it (pip install -U selfedit)" if version > SCHEMA_VERSION else "an older selfedit: use that one"
        raise LedgerError(f"{folder / FILE} has schema {version}, this selfedit reads {SCHEMA_VERSION}; it was written by {wanted}")


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


def content_hash(db: sqlite3.Connection) -> str:
    """SHA-256, hex, over what was done and found, in the order it was recorded; clocks, places and versions left out.

    Two runs of one recipe (its seed is part of it) on one machine have the same hash, however often they were killed and resumed.
    """
    digest = hashlib.sha256()
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    for table in tables:
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in _NOT_CONTENT.get(table, ())]
        digest.update(f"{json.dumps([table, *columns])}\n".encode())
        order = columns[0]  # the primary key, in every table
        for row in db.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}"):
            digest.update(f"{json.dumps(tuple(row))}\n".encode())
    return digest.hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by `text`: a reader, or whoever comes after a power cut, finds the old file or the new one, never a part."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder survive a power cut (where folders can be synced: not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
