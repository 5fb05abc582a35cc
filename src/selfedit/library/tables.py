"""What changes the tables of the library, and reads them: functions of a connection, each a part of a transaction."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from selfedit.errors import LedgerError
from selfedit.library.records import Action, Document, Entry, Version
from selfedit.types import Example, Question

APPLICATION_ID = 0x5EA111B5
SCHEMA_VERSION = 3

IN = "m.since <= :at AND (m.until IS NULL OR m.until > :at)"
"""The condition on `members m` that they are in the version `:at`."""


_EXAMPLES, _QUESTIONS = TypeAdapter(tuple[Example, ...]), TypeAdapter(tuple[Question, ...])


def create(db: sqlite3.Connection) -> None:
    """The tables that are not there yet, in the transaction that is open."""
    script = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def last(db: sqlite3.Connection) -> int:
    """The number of the version in force, 0 where there is none."""
    return int(db.execute("SELECT coalesce(max(number), 0) FROM versions").fetchone()[0])


def version_before(db: sqlite3.Connection) -> int:
    """The version that a rollback goes back to: the one that the last change was made on, 0 for none.

    Raises LedgerError where there is nothing to take back.
    """
    rows = db.execute("SELECT number, target FROM versions ORDER BY number").fetchall()
    dropped = rows[0][0] - 1 if rows else 0  # the last one that is not kept; 0 is always there
    stands_for, made_on, now = {0: 0}, {0: 0}, dropped
    for number, target in rows:
        if target in stands_for:
            now = stands_for[target]
        else:  # a rollback whose target was dropped stands for itself
            made_on[number] = now if target is None else dropped
            now = number
        stands_for[number] = now
    if not now:
        raise LedgerError("nothing to roll back: the untrained model is in force")
    return made_on[now]


def versions(db: sqlite3.Connection, number: int | None = None) -> list[Version]:
    """All that are kept, the oldest first, or one."""
    begins, ends = ([row[0] for row in db.execute(f"SELECT {at} FROM members WHERE {at} IS NOT NULL ORDER BY 1")] for at in ("since", "until"))
    columns = "SELECT number, digest, at, action, note, gate FROM versions"
    rows = db.execute(f"{columns} WHERE :number IS NULL OR number = :number ORDER BY number", {"number": number}).fetchall()

    def held(number: int) -> int:
        return bisect_right(begins, number) - bisect_right(ends, number)

    return [Version(number, digest, at, action, note, held(number), json.loads(gate)) for number, digest, at, action, note, gate in rows]


def insert(db: sqlite3.Connection, entry: Entry, number: int) -> list[int]:
    """An adapter with its documents, whose numbers are returned; nothing is done twice."""
    found = []
    values = (entry.id, entry.model, json.dumps(entry.recipe), entry.run, datetime.now(UTC).isoformat(timespec="milliseconds"))
    db.execute("INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)", values)
    for one in entry.documents:
        examples, questions = (json.dumps([asdict(each) for each in some], ensure_ascii=False) for some in (one.examples, one.questions))
        row = (entry.id, one.id, one.title, one.context, "\n".join(one.asked), examples, questions)
        columns = "entry, id, title, context, asked, examples, questions"
        db.execute(f"INSERT OR IGNORE INTO documents ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        [document] = db.execute("SELECT number FROM documents WHERE entry = ? AND id = ?", (entry.id, one.id)).fetchone()
        take_out(db, number, "d.id = :id AND d.number != :document", id=one.id, document=document)
        if not db.execute("SELECT 1 FROM members WHERE document = ? AND until IS NULL", (document,)).fetchone():
            put_in(db, document, number)
        found.append(document)
    return found


def put_in(db: sqlite3.Connection, document: int, number: int) -> None:
    """From this version on the document is in force."""
    db.execute("INSERT INTO members (document, since) VALUES (?, ?)", (document, number))
    db.execute("INSERT INTO words (rowid, title, context, asked) SELECT number, title, context, asked FROM documents WHERE number = ?", (document,))


def take_out(db: sqlite3.Connection, number: int, condition: str, **values: Any) -> None:
    """From this version on the documents that meet a condition (d: documents, m: members) are no longer in force."""
    of = "documents d CROSS JOIN members m ON m.document = d.number"  # in this order: conditions are on documents, which have an index
    query = f"SELECT d.number, d.title, d.context, d.asked FROM {of} WHERE m.until IS NULL AND {condition}"
    for row in db.execute(query, {**values, "number": number}).fetchall():
        db.execute("INSERT INTO words (words, rowid, title, context, asked) VALUES ('delete', ?, ?, ?, ?)", row)
        db.execute("UPDATE members SET until = ? WHERE document = ? AND until IS NULL", (number, row[0]))
    db.execute("DELETE FROM members WHERE until = since")


def record_version(
    db: sqlite3.Connection, number: int, action: Action, note: str, gate: Mapping[str, Any] | None = None, target: int | None = None
) -> None:
    """The version, named by what is in it. Without a `gate` that of the version before goes on."""
    members = db.execute("SELECT d.entry, d.id FROM documents d JOIN members m ON m.document = d.number WHERE m.until IS NULL ORDER BY 1, 2")
    digest = hashlib.sha256("\n".join(f"{entry} {one}" for entry, one in members).encode()).hexdigest()
    before = db.execute("SELECT gate FROM versions WHERE number = ?", (number - 1,)).fetchone()
    kept = json.dumps(gate) if gate is not None else before[0] if before else "{}"
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)", (number, digest, at, action, note, kept, target))


def drop_before(db: sqlite3.Connection, oldest: int) -> None:
    """Forget versions older than `oldest`, and what only they had."""
    db.execute("DELETE FROM versions WHERE number < ?", (oldest,))
    db.execute("DELETE FROM members WHERE until <= ?", (oldest,))
    db.execute("DELETE FROM documents WHERE number NOT IN (SELECT document FROM members)")
    db.execute("DELETE FROM entries WHERE id NOT IN (SELECT entry FROM documents)")


def document_of(title: str, context: str, asked: str, examples: str, questions: str) -> Document:
    """A row of the table as a record."""
    return Document(title, context, tuple(asked.splitlines()), _EXAMPLES.validate_json(examples), _QUESTIONS.validate_json(questions))
