"""What a model has learned, in one SQLite file: which adapter knows which document, version by version.

A version is a set of documents with their adapters. Adapters are stored once, in folders named by the SHA-256 of what they hold. A change is one
transaction: killed at any moment, the library has the old version or the new one. Two processes that change it take turns.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selfedit.disk import sync_folder, sync_whole
from selfedit.errors import DataError, LedgerError
from selfedit.grouping import grouped
from selfedit.ledger.database import transaction
from selfedit.library import tables
from selfedit.library.gate import Features
from selfedit.library.records import Action, Document, Entry, Membership, Version
from selfedit.store.artifacts import digest_of

FILE = "library.db"
FOLDER = "library"
_PATIENCE_S = 20.0


class Library:
    """The library below `root`, where runs live. It is made when something is first put in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FOLDER

    # ------------------------------------------------------------ reading

    def exists(self) -> bool:
        """Whether anything was ever learned here."""
        return (self.folder / FILE).is_file()

    def version(self, number: int | None = None) -> Version | None:
        """The version in force, or one by its number; None where nothing was ever learned. Raises LedgerError for an unknown number."""
        with self.reading() as db:
            found = tables.versions(db, tables.last(db) if number is None else number)
        if number is not None and not found:
            raise LedgerError(f"there is no version {number}; `selfedit log` lists those that are kept")
        return found[0] if found else None

    def history(self) -> list[Version]:
        """Every version that is kept, the oldest first."""
        with self.reading() as db:
            return tables.versions(db)

    def memberships(self) -> list[Membership]:
        """When which document was in force, as far as versions are kept, in the order in which they came."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT d.id, d.title, d.entry, e.at, m.since, m.until FROM members m JOIN documents d ON d.number = m.document "
                "JOIN entries e ON e.id = d.entry ORDER BY m.since, d.number"
            ).fetchall()
        return [Membership(*row) for row in rows]

    def entries(self, number: int | None = None) -> list[Entry]:
        """The adapters in force, or those of a version, with the documents of each that are in it; in the order in which they came."""
        with self.reading() as db:
            at = tables.last(db) if number is None else number
            rows = db.execute(
                f"SELECT e.id, e.model, e.recipe, e.run, d.title, d.context, d.asked, d.examples, d.questions FROM documents d "
                f"JOIN entries e ON e.id = d.entry JOIN members m ON m.document = d.number WHERE {tables.IN} ORDER BY d.number",
                {"at": at},
            ).fetchall()
        return [
            Entry(one, self.adapter(one), tuple(tables.document_of(*r[4:]) for r in group), group[0][1], json.loads(group[0][2]), group[0][3])
            for one, group in grouped((row[0], row) for row in rows).items()
        ]

    def documents(self, number: int | None = None) -> list[Document]:
        """The documents in force, or those of a version."""
        return [document for entry in self.entries(number) for document in entry.documents]

    def entry(self, name: str) -> Entry:
        """An adapter by its name, without its documents. Raises DataError where there is none."""
        with self.reading() as db:
            row = db.execute("SELECT id, model, recipe, run FROM entries WHERE id = ?", (name,)).fetchone()
        if row is None:
            raise DataError(f"there is no adapter {name} in {self.folder}")
        return Entry(row[0], self.adapter(row[0]), (), row[1], json.loads(row[2]), row[3])

    def names(self) -> list[str]:
        """The adapters in force by name, in the order in which they came."""
        query = (
            "SELECT d.entry FROM documents d JOIN members m ON m.document = d.number WHERE m.until IS NULL GROUP BY d.entry ORDER BY min(d.number)"
        )
        with self.reading() as db:
            return [row[0] for row in db.execute(query)]

    def has(self, entries: Sequence[Entry]) -> bool:
        """Whether these adapters are in force for all of their documents."""
        query = "SELECT 1 FROM documents d JOIN members m ON m.document = d.number WHERE m.until IS NULL AND d.entry = ? AND d.id = ?"
        with self.reading() as db:
            return all(db.execute(query, (entry.id, document.id)).fetchone() for entry in entries for document in entry.documents)

    def newest(self) -> Entry:
        """The adapter in force that came last. Raises DataError where none is."""
        if not (names := self.names()):
            raise DataError(f"nothing is in force in {self.folder}")
        return self.entry(names[-1])

    def size(self) -> int:
        """How many documents are in force."""
        version = self.version()
        return version.documents if version else 0

    def adapter(self, entry: str) -> Path:
        """Where an adapter lies."""
        return self.folder / "adapters" / entry

    def check(self, entry: str) -> Path:
        """The folder of an adapter. Raises LedgerError where it is gone, or no longer what was learned."""
        folder = self.adapter(entry)
        if not folder.is_dir():
            raise LedgerError(f"the adapter {folder} is gone: restore it from a copy, or take it back with `selfedit rollback`")
        if digest_of(folder) != entry:
            raise LedgerError(f"the adapter {folder} is no longer what was learned, by its SHA-256: restore it, or `selfedit rollback`")
        return folder

    # ------------------------------------------------------------ changing

    def add(self, entries: Sequence[Entry], *, note: str, action: Action = "learn", gate: Mapping[str, Any] | None = None, keep: int = 0) -> Version:
        """Put adapters in force. A document that was known already is known by the new adapter from then on.

        Adapters are copied from `folder` of each entry. `consolidate` takes the place of everything. What belongs to another model goes out of force.
        `keep` versions remain, 0: all.
        """
        with self._writing() as db:
            for entry in entries:
                self._store(entry)
            with transaction(db):
                number = tables.last(db) + 1
                new = [document for entry in entries for document in tables.insert(db, entry, number)]
                model = entries[-1].model if entries else None
                tables.take_out(db, number, "d.entry IN (SELECT id FROM entries WHERE model != :model)", model=model)
                if action == "consolidate":
                    tables.take_out(db, number, "d.number NOT IN (SELECT value FROM json_each(:new))", new=json.dumps(new))
                tables.record_version(db, number, action, note, gate)
                if keep:
                    tables.drop_before(db, number - keep + 1)
                [version] = tables.versions(db, number)
            self._sweep(db)
        return version

    def set_gate(self, number: int, gate: Mapping[str, Any], features: Mapping[tuple[str, str], Features]) -> None:
        """Give a version its gate, and keep what its calibration found, by prompt and id of the document, in place of the last time's."""
        with self._writing() as db, transaction(db):
            db.execute("UPDATE versions SET gate = ? WHERE number = ?", (json.dumps(gate), number))
            db.execute("DELETE FROM features")
            rows = [(*which, some.held, some.foreign, some.told) for which, some in features.items()]
            db.executemany("INSERT INTO features VALUES (?, ?, ?, ?, ?)", rows)

    def features(self) -> dict[tuple[str, str], Features]:
        """What the last calibration found to speak for documents, by everyday prompt and id of the document."""
        with self.reading() as db:
            if db.execute("PRAGMA user_version").fetchone()[0] < 3:  # they were not kept then
                return {}
            return {(prompt, document): Features(*some) for prompt, document, *some in db.execute("SELECT * FROM features")}

    def forget(self, documents: Sequence[str], note: str) -> Version:
        """Take documents out of force, by their ids. Raises DataError where none of them is in force."""
        with self._writing() as db, transaction(db):
            number = tables.last(db) + 1
            before = db.execute("SELECT count(*) FROM members WHERE until IS NULL").fetchone()[0]
            tables.take_out(db, number, "d.id IN (SELECT value FROM json_each(:ids))", ids=json.dumps(list(documents)))
            if db.execute("SELECT count(*) FROM members WHERE until IS NULL").fetchone()[0] == before:
                raise DataError("none of these documents is in force; `selfedit log --documents` lists those that are")
            tables.record_version(db, number, "forget", note)
            [version] = tables.versions(db, number)
        return version

    def rollback(self, to: int | None = None) -> Version:
        """Exactly what was in force before, or in a version, 0: nothing. That is a new version itself, so that it can be taken back as well.

        Raises LedgerError where there is nothing to take back, or no such version.
        """
        if not self.exists():
            raise LedgerError("nothing to roll back: the untrained model is in force")
        with self._writing() as db, transaction(db):
            last = tables.last(db)
            target = tables.version_before(db) if to is None else to
            if target and not db.execute("SELECT 1 FROM versions WHERE number = ?", (target,)).fetchone():
                raise LedgerError(f"there is no version {target}; `selfedit log` lists those that are kept")
            wanted = {row[0] for row in db.execute(f"SELECT document FROM members m WHERE {tables.IN}", {"at": target})}
            now = {row[0] for row in db.execute("SELECT document FROM members WHERE until IS NULL")}
            for document in now - wanted:
                tables.take_out(db, last + 1, "d.number = :document", document=document)
            for document in sorted(wanted - now):
                tables.put_in(db, document, last + 1)
            gate = db.execute("SELECT gate FROM versions WHERE number = ?", (target,)).fetchone()
            tables.record_version(db, last + 1, "rollback", f"to version {target}", json.loads(gate[0]) if gate else {}, target)
            [version] = tables.versions(db, last + 1)
        return version

    # ------------------------------------------------------------ files

    def _store(self, entry: Entry) -> None:
        """A copy of the adapter under its name, whole or not at all: linked where the disk allows, so that it takes no room twice."""
        target = self.adapter(entry.id)
        if target.is_dir():
            return
        draft = target.with_name(f"{entry.id}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(entry.folder, draft, copy_function=_link)
        sync_whole(draft)
        draft.rename(target)
        sync_folder(target.parent)

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Remove adapters that no version has: what was dropped, and what a process that was killed left behind."""
        known = {row[0] for row in db.execute("SELECT id FROM entries")}
        for folder in (self.folder / "adapters").glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    # ------------------------------------------------------------ connections

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that cannot change anything: to empty tables where nothing was ever learned."""
        with self._explained(), closing(self._readable()) as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._alone(), closing(self._connect("rwc")) as db:
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA foreign_keys = ON")
                with transaction(db):
                    if db.execute("PRAGMA user_version").fetchone()[0] < tables.SCHEMA_VERSION:
                        tables.create(db)
                yield db

    def _readable(self) -> sqlite3.Connection:
        """Opened for writing where that is possible: what a process left that was killed in the middle of a change has to be undone first."""
        if not self.exists():
            db = sqlite3.connect(":memory:")
            tables.create(db)
            return db
        try:
            db = self._connect("rw")
        except sqlite3.OperationalError:  # a disk or a folder that cannot be written
            return self._connect("ro")
        db.execute("PRAGMA query_only = ON")
        return db

    def _alone(self) -> FileLock:
        """Adapters are stored and swept beside the database: one process at a time."""
        return FileLock(self.folder / "library.lock", timeout=_PATIENCE_S)

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"{(self.folder / FILE).absolute().as_uri()}?mode={mode}"
        db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_PATIENCE_S)
        try:
            application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        except sqlite3.Error:
            db.close()
            raise
        if application not in (0, tables.APPLICATION_ID) or version > tables.SCHEMA_VERSION:
            db.close()
            newer = "was written by a newer selfedit: upgrade it (pip install -U selfedit)"
            other = "is no library: move it away, or restore the library from a copy"
            raise LedgerError(f"{self.folder / FILE} {newer if application == tables.APPLICATION_ID else other}")
        return db

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of SQLite and of the disk in one line."""
        file = self.folder / FILE
        try:
            yield
        except Timeout as error:
            raise LedgerError(f"{file} is being changed by another process: try again in a moment") from error
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", None) or ""
            if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
                raise LedgerError(f"{file} is damaged or not a library ({error}): restore it from a copy; runs are not touched by this") from error
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise LedgerError(f"{file} is being changed by another process: try again in a moment") from error
            if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
                raise LedgerError(f"no room left to write {file}: free some space and try again; what was in force still is") from error
            raise LedgerError(f"{file}: {error}") from error
        except OSError as error:
            raise LedgerError(f"{self.folder}: {error.strerror or error}; what was in force still is") from error


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
        with Path(target).open("rb+") as stream:
            os.fsync(stream.fileno())
    return target
