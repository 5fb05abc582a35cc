"""What the library holds, as frozen records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from selfedit.types import Example, Question, Task

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
class Membership:
    """A document was in force from version `since` until before version `until`, or still is; known by the adapter `entry`, which came `at`."""

    document: str
    title: str
    entry: str
    at: str
    since: int
    until: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """A document in force with the adapter that knows it; `rank` is its place among those that were found for a question, from 0."""

    entry: str
    document: Document
    rank: int = 0
