"""The records of selfedit.types as rows and back: what is read equals what was written, floats to the last bit."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple, TypeVar

from selfedit.errors import LedgerError
from selfedit.types import (
    Answer,
    Artifact,
    Candidate,
    Dropped,
    Example,
    Prompt,
    Proposal,
    Question,
    Rating,
    Result,
    Reward,
    Selected,
    SelfEdit,
    Task,
    Turn,
    Update,
    Variant,
    Verdict,
)

R = TypeVar("R")
Db = sqlite3.Connection
Row = sqlite3.Row
Filter = Mapping[str, int | str | None]
"""Column names with the value each must have."""


class _Codec(NamedTuple):
    table: str
    write: Callable[[Db, int, int, Any], None]
    """(db, step, position, record)"""
    read: Callable[[Db, Row], Any]


def write(db: Db, step: int, kind: type[Any], records: Sequence[Any]) -> None:
    """Insert the records of a step. Raises TypeError for a record of another kind, LedgerError for one that cannot be true.

    That is a NaN where a score belongs, and an answer to a question that its task does not ask in that role.
    """
    for position, record in enumerate(records):
        if type(record) is not kind:
            raise TypeError(f"a step of {kind.__name__} got a {type(record).__name__}")
        _codec(kind).write(db, step, position, record)


def read(db: Db, kind: type[R], where: Filter) -> list[R]:
    """Records in the order they were written."""
    codec = _codec(kind)
    return [codec.read(db, row) for row in _rows(db, codec.table, where)]


def read_step(db: Db, kind: type[R], step: int) -> list[R]:
    """The records of the step at this position; the verdicts of a candidate come with it, not by themselves."""
    return read(db, kind, {"step": step, "candidate_id": None} if kind is Verdict else {"step": step})


def insert(db: Db, table: str, **values: Any) -> int:
    """One row; returns its id. SQLite would make NULL of a NaN, and so "unscored" of a broken score: it is refused."""
    for column, value in values.items():
        if isinstance(value, float) and math.isnan(value):
            raise LedgerError(f"{table}.{column} is NaN: a score is a number, or None with the reason it could not be measured")
    marks = ", ".join(f":{column}" for column in values)
    row_id = db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", values).lastrowid
    assert row_id is not None
    return row_id


# ---------------------------------------------------------------- rows


def _codec(kind: type[Any]) -> _Codec:
    if kind not in _CODECS:
        raise TypeError(f"the ledger holds {', '.join(known.__name__ for known in _CODECS)}, not {kind.__name__}")
    return _CODECS[kind]


def _rows(db: Db, table: str, where: Filter) -> list[Row]:
    conditions = " AND ".join(f"{column} IS :{column}" for column in where) or "1"
    cursor = db.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(f"SELECT * FROM {table} WHERE {conditions} ORDER BY id", where).fetchall()


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _dump_floats(values: Sequence[float]) -> str:
    """Exact, and valid JSON: a diverged loss is the string "nan" or "inf"."""
    return _dump([float(value) if math.isfinite(value) else str(float(value)) for value in values])


def _load_floats(text: str) -> tuple[float, ...]:
    return tuple(float(value) for value in json.loads(text))


# ---------------------------------------------------------------- one pair for each record


def _write_task(db: Db, step: int, position: int, task: Task) -> None:
    insert(db, "tasks", step=step, position=position, task_id=task.id, title=task.title, context=task.context)
    for role, questions in (("reward", task.reward_questions), ("report", task.report_questions)):
        for number, question in enumerate(questions):
            insert(db, "questions", task_id=task.id, role=role, position=number, **_question_columns(question))


def _read_task(db: Db, row: Row) -> Task:
    task_id = row["task_id"]
    return Task(task_id, row["title"], row["context"], _read_questions(db, task_id, "reward"), _read_questions(db, task_id, "report"))


def _read_questions(db: Db, task_id: str, role: str) -> tuple[Question, ...]:
    return tuple(_read_question(row) for row in _rows(db, "questions", {"task_id": task_id, "role": role}))


def _question_columns(question: Question) -> dict[str, Any]:
    return {"question": question.question, "gold": question.answer, "kind": question.kind, "fact": question.fact}


def _read_question(row: Row) -> Question:
    return Question(row["question"], row["gold"], row["kind"], row["fact"])


def _write_proposal(db: Db, step: int, position: int, proposal: Proposal) -> None:
    edit = proposal.edit
    row_id = insert(
        db,
        "proposals",
        step=step,
        position=position,
        task_id=proposal.task_id,
        round=proposal.round,
        idx=proposal.index,
        seed=proposal.seed,
        strategy=edit.strategy,
        examples=_dump([{"prompt": example.prompt, "text": example.text} for example in edit.examples]),
        dropped=_dump([{"text": piece.text, "reason": piece.reason} for piece in edit.dropped]),
    )
    for number, turn in enumerate(edit.turns):
        asked = {"prompt": turn.prompt.text, "continued": turn.prompt.continued, "given": turn.prompt.given}
        insert(db, "turns", proposal_id=row_id, position=number, **asked, completion=turn.completion, finish_reason=turn.finish_reason)


def _read_proposal(db: Db, row: Row) -> Proposal:
    turns = tuple(_read_turn(turn) for turn in _rows(db, "turns", {"proposal_id": row["id"]}))
    examples = tuple(Example(**example) for example in json.loads(row["examples"]))
    dropped = tuple(Dropped(**piece) for piece in json.loads(row["dropped"]))
    edit = SelfEdit(row["strategy"], turns, examples, dropped)
    return Proposal(row["task_id"], row["round"], row["idx"], row["seed"], edit)


def _read_turn(row: Row) -> Turn:
    return Turn(Prompt(row["prompt"], bool(row["continued"]), row["given"]), row["completion"], row["finish_reason"])


def _write_candidate(db: Db, step: int, position: int, candidate: Candidate) -> None:
    proposal, reward = candidate.proposal, candidate.reward
    row_id = insert(
        db,
        "candidates",
        step=step,
        position=position,
        task_id=proposal.task_id,
        round=proposal.round,
        idx=proposal.index,
        reward=reward.value,
        reward_kind=reward.kind,
        reward_reason=reward.reason,
        reward_parts=_dump(reward.parts),
        losses=_dump_floats(candidate.losses),
        tokens=candidate.tokens,
    )
    _write_answers(db, proposal.task_id, "reward", candidate.answers, candidate_id=row_id)
    for number, verdict in enumerate(candidate.verdicts):
        _write_verdict(db, step, number, verdict, candidate_id=row_id)


def _read_candidate(db: Db, row: Row) -> Candidate:
    [proposal] = read(db, Proposal, {"task_id": row["task_id"], "round": row["round"], "idx": row["idx"]})
    parts = tuple((name, figure) for name, figure in json.loads(row["reward_parts"]))
    reward = Reward(row["reward"], row["reward_kind"], row["reward_reason"], parts)
    answers = _read_answers(db, {"candidate_id": row["id"]})
    verdicts = tuple(read(db, Verdict, {"candidate_id": row["id"]}))
    return Candidate(proposal, reward, answers, _load_floats(row["losses"]), row["tokens"], verdicts)


def _write_result(db: Db, step: int, position: int, result: Result) -> None:
    columns = {"row": result.row, "task_id": result.task_id, "role": result.role, "tokens": result.tokens, "seed": result.seed}
    row_id = insert(db, "results", step=step, position=position, **columns)
    _write_answers(db, result.task_id, result.role, result.answers, result_id=row_id)


def _read_result(db: Db, row: Row) -> Result:
    return Result(row["row"], row["task_id"], _read_answers(db, {"result_id": row["id"]}), row["tokens"], row["role"], row["seed"])


def _write_answers(db: Db, task_id: str, role: str, answers: Sequence[Answer], **owner: int) -> None:
    """What chose between self-edits must never be reported as a result: an answer is to a question of its role, or refused."""
    asked = set(_read_questions(db, task_id, role))
    for position, answer in enumerate(answers):
        if answer.question not in asked:
            raise LedgerError(f"{answer.question.question!r} is not one of the {role} questions of task {task_id!r}: its answer is not recorded")
        measured = {"prediction": answer.prediction, "correct": answer.correct, "gold_logprob": answer.gold_logprob}
        insert(db, "answers", position=position, **owner, **_question_columns(answer.question), **measured)


def _read_answers(db: Db, owner: Filter) -> tuple[Answer, ...]:
    rows = _rows(db, "answers", owner)
    return tuple(Answer(_read_question(row), row["prediction"], _read_mark(row["correct"]), row["gold_logprob"]) for row in rows)


def _read_mark(correct: int | None) -> bool | None:
    return None if correct is None else bool(correct)


def _write_verdict(db: Db, step: int, position: int, verdict: Verdict, candidate_id: int | None = None) -> None:
    values = {"guard": verdict.guard, "decision": verdict.decision, "reason": verdict.reason}
    insert(db, "verdicts", step=step, position=position, candidate_id=candidate_id, **values)


def _read_verdict(_: Db, row: Row) -> Verdict:
    return Verdict(row["guard"], row["decision"], row["reason"])


def _write_rating(db: Db, step: int, position: int, rating: Rating) -> None:
    edit = {"task_id": rating.task_id, "round": rating.round, "idx": rating.index}
    insert(db, "ratings", step=step, position=position, **edit, screen=rating.screen, rung=rating.rung, value=rating.value)


def _read_rating(_: Db, row: Row) -> Rating:
    return Rating(row["task_id"], row["round"], row["idx"], row["screen"], row["rung"], row["value"])


def _write_kept(db: Db, step: int, position: int, kept: Selected) -> None:
    insert(db, "kept", step=step, position=position, task_id=kept.task_id, round=kept.round, idx=kept.index, advantage=kept.advantage)


def _read_kept(_: Db, row: Row) -> Selected:
    return Selected(row["task_id"], row["round"], row["idx"], row["advantage"])


def _write_variant(db: Db, step: int, position: int, variant: Variant) -> None:
    insert(db, "variants", step=step, position=position, **asdict(variant))


def _read_variant(_: Db, row: Row) -> Variant:
    return Variant(**{field.name: row[field.name] for field in fields(Variant)})


def _write_update(db: Db, step: int, position: int, update: Update) -> None:
    columns = {"round": update.round, "algorithm": update.algorithm, "groups": update.groups, "skipped": update.skipped}
    row_id = insert(db, "updates", step=step, position=position, **columns, losses=_dump_floats(update.losses))
    for name, value in update.metrics.items():
        insert(db, "metrics", update_id=row_id, name=name, value=value)


def _read_update(db: Db, row: Row) -> Update:
    metrics = {metric["name"]: metric["value"] for metric in _rows(db, "metrics", {"update_id": row["id"]})}
    return Update(row["round"], row["algorithm"], row["groups"], row["skipped"], _load_floats(row["losses"]), metrics)


def _write_artifact(db: Db, step: int, position: int, artifact: Artifact) -> None:
    insert(db, "artifacts", step=step, position=position, name=artifact.name, path=artifact.path, sha256=artifact.sha256)


def _read_artifact(_: Db, row: Row) -> Artifact:
    return Artifact(row["name"], row["path"], row["sha256"])


_CODECS: dict[type[Any], _Codec] = {
    Task: _Codec("tasks", _write_task, _read_task),
    Proposal: _Codec("proposals", _write_proposal, _read_proposal),
    Candidate: _Codec("candidates", _write_candidate, _read_candidate),
    Rating: _Codec("ratings", _write_rating, _read_rating),
    Selected: _Codec("kept", _write_kept, _read_kept),
    Variant: _Codec("variants", _write_variant, _read_variant),
    Update: _Codec("updates", _write_update, _read_update),
    Result: _Codec("results", _write_result, _read_result),
    Verdict: _Codec("verdicts", _write_verdict, _read_verdict),
    Artifact: _Codec("artifacts", _write_artifact, _read_artifact),
}
