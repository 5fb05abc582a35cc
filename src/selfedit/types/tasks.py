"""What is to be learned: passages, questions, tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answer, empty where nobody knows it: such a question may choose between self-edits, never be reported on.

    `kind` says where it came from: `given` with the data, `written` by the model and confirmed, or `cloze` (a blanked name, number or date of the
    text); `grid` is given as a grid of digits, which is right or wrong as a whole. Questions about one `fact` never straddle reward and report.
    `aliases` are further gold answers, of which the best counts. `joined` says why the question was put on the same side as others; two questions
    are equal whatever it says.
    """

    question: str
    answer: str
    kind: Literal["given", "written", "cloze", "grid"] = "given"
    fact: str | None = None
    aliases: tuple[str, ...] = ()
    joined: str = field(default="", compare=False, repr=False)

    @property
    def in_words(self) -> bool:
        """Whether question and answer are words, so that an answer can be partly right."""
        return self.kind != "grid"

    @property
    def golds(self) -> tuple[str, ...]:
        """Every right answer that is known, the first of them first; none where nobody knows it."""
        return tuple(gold for gold in (self.answer, *self.aliases) if gold)


@dataclass(frozen=True, slots=True)
class Task:
    """A context and its evaluation: SEAL's (C, tau).

    `reward_questions` choose between self-edits; `report_questions` are touched only to report a result.
    """

    id: str
    title: str
    context: str
    reward_questions: tuple[Question, ...] = ()
    report_questions: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, with the questions that came with it (none for plain text).

    `source` says where it begins, as in "notes.md, line 12"; it is no part of what the passage is.
    """

    id: str
    title: str
    context: str
    questions: tuple[Question, ...] = ()
    source: str = field(default="", compare=False, repr=False)
