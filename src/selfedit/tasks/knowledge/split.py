"""Knowledge incorporation: learn a passage, then answer questions on it without seeing it (SEAL section 4.1)."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Literal

from selfedit.errors import DataError
from selfedit.tasks.knowledge.documents import read_demonstrations, read_documents, read_row
from selfedit.text import ask, normalise
from selfedit.types import Passage, Question, Task

__all__ = ["ask", "bundled_corpus", "divide", "read_demonstrations", "read_documents"]


def bundled_corpus(split: Literal["train", "heldout"]) -> list[Passage]:
    """The packaged documents about invented things, which no model can know beforehand, with their questions."""
    return [passage for passage, its in _corpus() if its == split]


@cache
def _corpus() -> tuple[tuple[Passage, str], ...]:
    """Every document with its split."""
    file = resources.files("selfedit").joinpath("data/corpus.jsonl")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError("the bundled corpus is not in this installation; install selfedit again") from error
    found = []
    for number, line in enumerate(lines, start=1):
        row = json.loads(line)
        title, context, questions = read_row(row, f"{file}, line {number}")
        found.append((Passage(f"corpus-{number:04d}", title, context, questions), str(row["split"])))
    return tuple(found)


def divide(passage: Passage, report_share: float, seed: int) -> Task:
    """Divide a passage's questions by fact between reward and report.

    The questions of one fact stay together, and so do questions of the same words; a question without a fact is its own. Each side gets at
    least one of two or more facts; a lone fact goes to the report, and one to which nobody knows the answer never does. Depends on the seed and this
    passage alone.
    """
    groups = [group for group in _by_fact(passage.questions) if all(question.answer for question in group)]
    order = sorted(groups, key=lambda group: _shuffle(seed, passage.id, group[0]))
    report = round(len(order) * report_share)
    report = max(1, min(report, len(order) - 1))
    reported = {question for group in order[:report] for question in group}
    return Task(
        id=passage.id,
        title=passage.title,
        context=passage.context,
        reward_questions=tuple(question for question in passage.questions if question not in reported),
        report_questions=tuple(question for question in passage.questions if question in reported),
    )


def _by_fact(questions: tuple[Question, ...]) -> list[list[Question]]:
    """Questions joined by a common fact or by the same normalised words."""
    groups: list[tuple[set[str], list[Question]]] = []
    for question in questions:
        keys = {f"text {normalise(question.question)}"} | ({f"fact {question.fact}"} if question.fact is not None else set())
        members = [question]
        for group in [group for group in groups if group[0] & keys]:
            groups.remove(group)
            keys |= group[0]
            members = group[1] + members
        groups.append((keys, members))
    return [members for _, members in groups]


def _shuffle(seed: int, passage_id: str, question: Question) -> bytes:
    return hashlib.sha256(f"{seed}\0{passage_id}\0{question.fact}\0{question.question}\0{question.answer}".encode()).digest()
