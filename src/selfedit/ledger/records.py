"""The records of selfedit.types in the ledger, a JSON object each: what is read equals what was written, floats to the last bit.

pydantic writes and reads them by their fields alone. A new field with a default changes nothing here: records without it get the default.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from selfedit.errors import LedgerError
from selfedit.types import (
    Answer,
    Artifact,
    Candidate,
    Example,
    Harvested,
    Proposal,
    Question,
    Rating,
    Result,
    Routed,
    Selected,
    Task,
    Update,
    Variant,
    Verdict,
)

R = TypeVar("R")
Db = sqlite3.Connection

KINDS = (Task, Proposal, Rating, Candidate, Selected, Variant, Update, Result, Verdict, Artifact, Example, Routed, Harvested)
"""The types of record that a step may hold."""

_CONFIG = ConfigDict(extra="forbid", ser_json_inf_nan="strings", defer_build=True)
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {kind: TypeAdapter(list[kind], config=_CONFIG) for kind in (*KINDS, Question)}  # type: ignore[valid-type]
"""Of lists, because pydantic takes no settings for a dataclass from outside."""
_KEY_ALONE = {"__all__": {"proposal": {"seed", "edit"}}}
"""Left out of a candidate: its proposal is recorded already, most of it prompts that hold the whole passage, and would nearly double the file."""

_READ = """
SELECT CASE r.kind WHEN 'Candidate' THEN json_set(r.body, '$.proposal', (
    SELECT json(p.body) FROM records p WHERE p.kind = 'Proposal' AND p.task_id = r.task_id AND p.round = r.round AND p.idx = r.idx
)) ELSE r.body END
FROM records r WHERE r.kind = :kind AND (:step IS NULL OR r.step = :step) AND (:round IS NULL OR r.round = :round) ORDER BY r.step, r.position
"""


def write(db: Db, step: int, name: str, kind: type[R], found: Sequence[R]) -> list[R]:
    """Insert the records of the step called `name`; returns them as they are read back.

    Raises TypeError for a record of another kind, LedgerError for one that cannot be true: with a NaN where a score belongs, with an answer to a
    question that its task does not ask in that role, recorded already, of an unknown task or proposal, or with a value that its type does not take.
    """
    asked: dict[tuple[str, str], set[Question]] = {}
    for position, record in enumerate(found):
        if type(record) is not kind:
            raise TypeError(f"a step of {kind.__name__} got a {type(record).__name__}")
        try:
            body = _ADAPTERS[kind].dump_json([record], exclude=_KEY_ALONE, warnings=False)[1:-1].decode()
            if '"NaN"' in body:
                _check_numbers(record)
            _check_roles(db, record, asked)
            db.execute("INSERT INTO records (step, position, kind, body) VALUES (?, ?, ?, ?)", (step, position, kind.__name__, body))
        except (LedgerError, sqlite3.IntegrityError, ValueError) as error:
            raise LedgerError(f"step {name!r} holds a {kind.__name__} {_why(error)}: record {position} of the step") from error
    try:
        return read(db, kind, step)
    except ValidationError as error:
        raise LedgerError(f"step {name!r} holds a {kind.__name__} that cannot be read back: {explain(error)}") from error


def read(db: Db, kind: type[R], step: int | None = None, round: int | None = None) -> list[R]:
    """Records in the order they were written, of one step or round or of all. Raises ValidationError for what is not such a record."""
    bodies = db.execute(_READ, {"kind": kind.__name__, "step": step, "round": round})
    found: list[R] = _ADAPTERS[kind].validate_json(f"[{','.join(body for (body,) in bodies)}]")
    return found


def check_kind(kind: type[Any]) -> None:
    """Raises TypeError for what a step cannot hold."""
    if kind not in KINDS:
        raise TypeError(f"the ledger holds {', '.join(known.__name__ for known in KINDS)}, not {kind.__name__}")


def explain(error: ValidationError) -> str:
    """The first thing that is wrong with one of several records, in one line."""
    first = error.errors()[0]
    number, *place = first["loc"]
    if first["type"] == "unexpected_keyword_argument":
        return f"{'.'.join(map(str, place))!r} is not known here: a newer selfedit wrote it, upgrade (pip install -U selfedit)"
    return f"{'.'.join(map(str, place))} of record {number}: {first['msg']}"


# ---------------------------------------------------------------- what cannot be true


def _why(error: Exception) -> str:
    if isinstance(error, ValueError):
        return f"that cannot be written ({error})"
    return f"that is recorded already ({error})" if "UNIQUE" in str(error) else str(error)


def _check_numbers(record: Any) -> None:
    """Losses may diverge; any other number is a score, or None with the reason why it could not be measured."""
    if place := _nan(record):
        raise LedgerError(f"whose {place} is NaN, where a number belongs, or None for what could not be measured")


def _nan(value: Any, place: str = "") -> str | None:
    if isinstance(value, float):
        return place if math.isnan(value) else None
    parts: list[tuple[str, Any]] = []
    if is_dataclass(value):
        parts = [(f"{place}.{field.name}".strip("."), getattr(value, field.name)) for field in fields(value) if field.name != "losses"]
    elif isinstance(value, Mapping):
        parts = [(f"{place}.{key}", each) for key, each in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        parts = [(f"{place}[{number}]", each) for number, each in enumerate(value)]
    return next((found for part, each in parts if (found := _nan(each, part))), None)


def _check_roles(db: Db, record: Any, asked: dict[tuple[str, str], set[Question]]) -> None:
    """What chose between self-edits must never be reported as a result: an answer is to a question of its role, or refused."""
    task_id, role, answers = _answered(record)
    if answers and (task_id, role) not in asked:
        asked[task_id, role] = _questions(db, task_id, role)
    for answer in answers:
        if answer.question not in asked[task_id, role]:
            raise LedgerError(f"with an answer to {answer.question.question!r}, which is not one of the {role} questions of task {task_id!r}")


def _answered(record: Any) -> tuple[str, str, Sequence[Answer]]:
    """The task that is asked, the role of the questions, and the answers."""
    match record:
        case Candidate():
            return record.proposal.task_id, "reward", record.answers
        case Result():
            return record.task_id, record.role, record.answers
    return "", "", ()


def _questions(db: Db, task_id: str, role: str) -> set[Question]:
    query = "SELECT json_extract(body, '$.' || ? || '_questions') FROM records WHERE kind = 'Task' AND round IS NULL AND task_id = ?"
    row = db.execute(query, (role, task_id)).fetchone()
    return set(_ADAPTERS[Question].validate_json(row[0])) if row else set()
