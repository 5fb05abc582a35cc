"""What a model has learned, in one SQLite file: which adapter knows which document, version by version.

A version is a set of documents with their adapters. Adapters are stored once, in folders named by the SHA-256 of what they hold. A change is one
transaction: killed at any moment, the library has the old version or the new one. Two processes that change it take turns.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from selfedit.disk import sync_folder, sync_whole
from selfedit.errors import DataError, LedgerError
from selfedit.ledger.database import transaction
from selfedit.store.artifacts import digest_of
from selfedit.types import Example, Question, Task

FILE = "library.db"
FOLDER = "library"
APPLICATION_ID = 0x5EA111B5
SCHEMA_VERSION = 1
_PATIENCE_S = 20.0
Action = Literal["learn", "forget", "rollback", "consolidate"]


@dataclass(frozen=True, slots=True)
class Document:
    """A text that was learned.

    `asked` are the questions of its self-edits, `examples` what its adapter was trained on, without replay. `questions` are its reward questions:
    nothing is trained on them, so that they can say later whether it is still known.
    """

    title: str
    context: str
    asked: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    questions: tuple[Question, ...] = ()

    @property
    def id(self) -> str:
        """Named by what it says: the first 16 digits of a SHA-256."""
        return hashlib.sha256(f"{self.title}\n{self.context}".encode()).hexdigest()[:16]

    @classmethod
    def of(cls, task: Task, examples: Sequence[Example] = ()) -> Document:
        """A task's text with what was learned of it."""
        asked = tuple(example.prompt for example in examples if example.prompt)
        return cls(task.title, task.context, asked, tuple(examples), task.reward_questions)


@dataclass(frozen=True, slots=True)
class Entry:
    """An adapter with the documents that it knows. `id` is the SHA-256 of its configuration and weights, `folder` where it lies."""

    id: str
    folder: Path
    documents: tuple[Document, ...]
    model: str
    recipe: Mapping[str, Any]
    run: str


@dataclass(frozen=True, slots=True)
class Version:
    """A state of the library: `number` counts from 1, `digest` names what is in force (equal sets have equal digests), `note` says what was done."""

    number: int
    digest: str
    at: str
    action: Action
    note: str
    documents: int
    gate: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A document in force with the adapter that knows it; `rank` is its place among those that were found for a question, from 0."""

    number: int
    entry: str
    document: Document
    rank: int = 0


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
        found = self._versions("WHERE number = coalesce(:number, (SELECT max(number) FROM versions))", number=number)
        if number is not None and not found:
            raise LedgerError(f"there is no version {number}; `selfedit log` lists those that are kept")
        return found[0] if found else None

    def history(self) -> list[Version]:
        """Every version that is kept, the oldest first."""
        return self._versions()

    def _versions(self, which: str = "", **values: Any) -> list[Version]:
        if not self.exists():
            return []
        with self._reading() as db:
            rows = db.execute(f"SELECT number, digest, at, action, note, ({_COUNT}), gate FROM versions v {which} ORDER BY number", values).fetchall()
        return [Version(number, digest, at, action, note, n, json.loads(gate)) for number, digest, at, action, note, n, gate in rows]

    def entries(self, number: int | None = None) -> list[Entry]:
        """The adapters in force, or those of a version, with the documents of each that are in it; in the order in which they came."""
        if not self.exists():
            return []
        with self._reading() as db:
            at = _last(db) if number is None else number
            rows = db.execute(
                f"SELECT e.id, e.model, e.recipe, e.run, d.title, d.context, d.asked, d.examples, d.questions FROM documents d "
                f"JOIN entries e ON e.id = d.entry JOIN members m ON m.document = d.number WHERE {_IN} ORDER BY d.number",
                {"at": at},
            ).fetchall()
        found: dict[str, list[Any]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(row)
        return [
            Entry(one, self.adapter(one), tuple(_document(*r[4:]) for r in group), group[0][1], json.loads(group[0][2]), group[0][3])
            for one, group in found.items()
        ]

    def documents(self, number: int | None = None) -> list[Document]:
        """The documents in force, or those of a version."""
        return [document for entry in self.entries(number) for document in entry.documents]

    def recipe(self, entry: str) -> dict[str, Any]:
        """The settings that an adapter was made with."""
        with self._reading() as db:
            row = db.execute("SELECT recipe FROM entries WHERE id = ?", (entry,)).fetchone()
        found: dict[str, Any] = json.loads(row[0])
        return found

    def names(self, most: int = -1) -> list[str]:
        """The adapters in force by name, in the order in which they came; the first ones where `most` is given."""
        query = (
            "SELECT d.entry FROM documents d JOIN members m ON m.document = d.number WHERE m.until IS NULL "
            "GROUP BY d.entry ORDER BY min(d.number) LIMIT ?"
        )
        if not self.exists():
            return []
        with self._reading() as db:
            return [row[0] for row in db.execute(query, (most,))]

    def newest(self) -> Entry:
        """The adapter in force that came last. Raises DataError where none is."""
        query = (
            "SELECT e.id, e.model, e.recipe, e.run FROM entries e JOIN documents d ON d.entry = e.id JOIN members m ON m.document = d.number "
            "WHERE m.until IS NULL ORDER BY d.number DESC LIMIT 1"
        )
        row = None
        if self.exists():
            with self._reading() as db:
                row = db.execute(query).fetchone()
        if row is None:
            raise DataError(f"nothing is in force in {self.folder}")
        return Entry(row[0], self.adapter(row[0]), (), row[1], json.loads(row[2]), row[3])

    def run_of(self, entry: str) -> str:
        """The run that made an adapter."""
        with self._reading() as db:
            found: str = db.execute("SELECT run FROM entries WHERE id = ?", (entry,)).fetchone()[0]
        return found

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
                number = _last(db) + 1
                for entry in entries:
                    _insert(db, entry, number)
                model = entries[-1].model if entries else None
                _close(db, number, "d.entry IN (SELECT id FROM entries WHERE model != :model)", model=model)
                if action == "consolidate":
                    _close(db, number, "m.since < :number")
                _record(db, number, action, note, gate)
                if keep:
                    _drop_before(db, number - keep + 1)
            self._sweep(db)
        version = self.version()
        assert version is not None
        return version

    def set_gate(self, gate: Mapping[str, Any]) -> None:
        """Give the version in force its gate."""
        with self._writing() as db, transaction(db):
            db.execute("UPDATE versions SET gate = ? WHERE number = ?", (json.dumps(gate), _last(db)))

    def forget(self, documents: Sequence[str], note: str) -> Version:
        """Take documents out of force, by their ids. Raises DataError where none of them is in force."""
        with self._writing() as db, transaction(db):
            number = _last(db) + 1
            before = db.execute("SELECT count(*) FROM members WHERE until IS NULL").fetchone()[0]
            _close(db, number, "d.id IN (SELECT value FROM json_each(:ids))", ids=json.dumps(list(documents)))
            if db.execute("SELECT count(*) FROM members WHERE until IS NULL").fetchone()[0] == before:
                raise DataError("none of these documents is in force; `selfedit log --documents` lists those that are")
            _record(db, number, "forget", note, None)
        version = self.version()
        assert version is not None
        return version

    def rollback(self, to: int | None = None) -> Version:
        """Exactly what was in force before, or in a version, 0: nothing. That is a new version itself, so that it can be taken back as well.

        Raises LedgerError where there is nothing to take back, or no such version.
        """
        if not self.exists():
            raise LedgerError("nothing to roll back: the model is as it came")
        with self._writing() as db, transaction(db):
            last = _last(db)
            target = _before(db) if to is None else to
            if target and not db.execute("SELECT 1 FROM versions WHERE number = ?", (target,)).fetchone():
                raise LedgerError(f"there is no version {target}; `selfedit log` lists those that are kept")
            wanted = {row[0] for row in db.execute(f"SELECT document FROM members m WHERE {_IN}", {"at": target})}
            now = {row[0] for row in db.execute("SELECT document FROM members WHERE until IS NULL")}
            for document in now - wanted:
                _close(db, last + 1, "d.number = :document", document=document)
            for document in sorted(wanted - now):
                _open(db, document, last + 1)
            gate = db.execute("SELECT gate FROM versions WHERE number = ?", (target,)).fetchone()
            _record(db, last + 1, "rollback", f"to version {target}", json.loads(gate[0]) if gate else {})
        version = self.version()
        assert version is not None
        return version

    def prune(self, keep: int) -> int:
        """Drop all but the last `keep` versions, with the adapters that only they had. Returns how many versions were dropped."""
        before = len(self.history())
        with self._writing() as db:
            with transaction(db):
                _drop_before(db, _last(db) - keep + 1)
            self._sweep(db)
        return before - len(self.history())

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
        """A connection that cannot change anything, for searches."""
        with self._reading() as db:
            yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
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
                    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                        _create(db)
                yield db

    def _readable(self) -> sqlite3.Connection:
        """Opened for writing where that is possible: what a process left that was killed in the middle of a change has to be undone first."""
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
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            db.close()
            raise LedgerError(f"{self.folder / FILE} was written by a newer selfedit: upgrade it (pip install -U selfedit)")
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


_IN = "m.since <= :at AND (m.until IS NULL OR m.until > :at)"
_COUNT = "SELECT count(*) FROM members m WHERE m.since <= v.number AND (m.until IS NULL OR m.until > v.number)"


def _create(db: sqlite3.Connection) -> None:
    """The tables, in the transaction that is open."""
    script = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _last(db: sqlite3.Connection) -> int:
    """The number of the version in force, 0 where there is none."""
    return int(db.execute("SELECT coalesce(max(number), 0) FROM versions").fetchone()[0])


def _before(db: sqlite3.Connection) -> int:
    """The version that a rollback goes back to: the one that the last change was made on, 0 for none.

    Raises LedgerError where there is nothing to take back.
    """
    stands_for, made_on, now = {0: 0}, {0: 0}, 0
    for number, action, note in db.execute("SELECT number, action, note FROM versions ORDER BY number").fetchall():
        if action == "rollback":
            target = int(str(note).rpartition(" ")[2])
            stands_for[number] = stands_for.get(target, target)
        else:
            stands_for[number], made_on[number] = number, now
        now = stands_for[number]
    if not now:
        raise LedgerError("nothing to roll back: the model is as it came")
    return made_on.get(now, 0)


def _insert(db: sqlite3.Connection, entry: Entry, number: int) -> None:
    """An adapter with its documents; nothing is done twice."""
    values = (entry.id, entry.model, json.dumps(entry.recipe), entry.run, datetime.now(UTC).isoformat(timespec="milliseconds"))
    db.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)", values)
    for one in entry.documents:
        examples, questions = (json.dumps([asdict(each) for each in some], ensure_ascii=False) for some in (one.examples, one.questions))
        row = (entry.id, one.id, one.title, one.context, "\n".join(one.asked), examples, questions)
        columns = "entry, id, title, context, asked, examples, questions"
        db.execute(f"INSERT OR IGNORE INTO documents ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        [document] = db.execute("SELECT number FROM documents WHERE entry = ? AND id = ?", (entry.id, one.id)).fetchone()
        _close(db, number, "d.id = :id AND d.number != :document", id=one.id, document=document)
        if not db.execute("SELECT 1 FROM members WHERE document = ? AND until IS NULL", (document,)).fetchone():
            _open(db, document, number)


def _open(db: sqlite3.Connection, document: int, number: int) -> None:
    """From this version on the document is in force."""
    db.execute("INSERT INTO members (document, since) VALUES (?, ?)", (document, number))
    db.execute("INSERT INTO words (rowid, title, context, asked) SELECT number, title, context, asked FROM documents WHERE number = ?", (document,))


def _close(db: sqlite3.Connection, number: int, condition: str, **values: Any) -> None:
    """From this version on the documents that meet a condition (d: documents, m: members) are no longer in force."""
    of = "documents d CROSS JOIN members m ON m.document = d.number"  # in this order: conditions are on documents, which have an index
    query = f"SELECT d.number, d.title, d.context, d.asked FROM {of} WHERE m.until IS NULL AND {condition}"
    for row in db.execute(query, {**values, "number": number}).fetchall():
        db.execute("INSERT INTO words (words, rowid, title, context, asked) VALUES ('delete', ?, ?, ?, ?)", row)
        db.execute("UPDATE members SET until = ? WHERE document = ? AND until IS NULL", (number, row[0]))
    db.execute("DELETE FROM members WHERE until = since")


def _record(db: sqlite3.Connection, number: int, action: Action, note: str, gate: Mapping[str, Any] | None) -> None:
    """The version, named by what is in it. Without a `gate` that of the version before goes on."""
    members = db.execute("SELECT d.entry, d.id FROM documents d JOIN members m ON m.document = d.number WHERE m.until IS NULL ORDER BY 1, 2")
    digest = hashlib.sha256("\n".join(f"{entry} {one}" for entry, one in members).encode()).hexdigest()
    before = db.execute("SELECT gate FROM versions WHERE number = ?", (number - 1,)).fetchone()
    kept = json.dumps(gate) if gate is not None else before[0] if before else "{}"
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)", (number, digest, at, action, note, kept))


def _drop_before(db: sqlite3.Connection, oldest: int) -> None:
    """Forget versions older than `oldest`, and what only they had."""
    db.execute("DELETE FROM versions WHERE number < ?", (oldest,))
    db.execute("DELETE FROM members WHERE until <= ?", (oldest,))
    db.execute("DELETE FROM documents WHERE number NOT IN (SELECT document FROM members)")
    db.execute("DELETE FROM entries WHERE id NOT IN (SELECT entry FROM documents)")


def _document(title: str, context: str, asked: str, examples: str, questions: str) -> Document:
    read = TypeAdapter(tuple[Question, ...]).validate_json(questions)
    return Document(title, context, tuple(asked.splitlines()), TypeAdapter(tuple[Example, ...]).validate_json(examples), read)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
        with Path(target).open("rb+") as stream:
            os.fsync(stream.fileno())
    return target
