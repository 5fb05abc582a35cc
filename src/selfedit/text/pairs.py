"""Questions and answers as models write them, read from free text. Used for self-QA edits and for written questions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from selfedit.text.markup import without_emphasis
from selfedit.text.sentences import QUESTION_MARKS
from selfedit.types import Dropped

_TAG = r"\s*(?:no\.?\s*)?#?\d{0,3}\s*(?:[:.)\]]|\s[-–—]\s)+\s*"
_QUESTION = re.compile(rf"^(?:(?:the |my )?question(?: is)?|q){_TAG}|^(?:question|q)\s*\d{{0,3}}\s*$", re.IGNORECASE)
_ANSWER = re.compile(rf"^(?:(?:the |my )?answer(?: is)?|ans|a){_TAG}|^answer\s*\d{{0,3}}\s*$", re.IGNORECASE)
_INLINE = re.compile(r"(?<!\bthe)\s+(?=(?:(?:the )?answer(?: is)?|ans)\s*\d{0,3}\s*:)|(?<=[?？؟])\s+(?=A\s*\d{0,3}\s*[:.)])", re.IGNORECASE)
_AGAIN = re.compile(r"(?<=\S)\s+(?=(?:question|q)\s*\d{0,3}\s*:)", re.IGNORECASE)
_NUMBER = re.compile(r"^\(?\d{1,3}[.)\]:]\s+(?=\S)")
_ORNAMENT = re.compile(r"^[-*•·▪#>+]+\s+|^[•·▪]+")
_AFTER = re.compile(r"^(?:passage|text|topic|title)\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer, markers and ornaments removed. Neither is empty."""

    question: str
    answer: str


def read_pairs(text: str) -> tuple[list[Pair], list[Dropped]]:
    """Pairs in their order, and every line that is not part of one, with the reason.

    Understands `Question 1:`, `**Q1.**`, `Q:`, `1. ...?` and questions without any marker; `Answer:`, `A:`, on the same line or the next,
    or an unmarked line without a number after a question. A line before an answer is its question, so that a prompt may end in `Question:`.
    """
    reader = _Reader()
    lines = _lines(text)
    for number, line in enumerate(lines):
        if _AFTER.match(line) and (reader.pairs or reader.question):
            reader.close()
            reader.dropped.append(Dropped("\n".join(lines[number:]), "written after the end of the list"))
            return reader.pairs, reader.dropped
        follower = lines[number + 1] if number + 1 < len(lines) else ""
        reader.take(line, before_answer=bool(_ANSWER.match(follower)))
    reader.close()
    return reader.pairs, reader.dropped


class _Reader:
    """Holds the question that waits for its answer."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.dropped: list[Dropped] = []
        self.question: str | None = None

    def take(self, line: str, before_answer: bool) -> None:
        if marker := _ANSWER.match(line):
            self.answer(line[marker.end() :].strip(), line)
        elif marker := _QUESTION.match(line):
            self.ask(line[marker.end() :].strip())
        elif self.question == "":
            self.question = line
        elif line.endswith(QUESTION_MARKS) or before_answer:
            self.ask(_NUMBER.sub("", line))
        elif self.question is not None and not _NUMBER.match(line):
            self.answer(line, line)
        else:
            self.dropped.append(Dropped(line, "neither a question nor an answer"))

    def ask(self, question: str) -> None:
        self.close()
        marker = _QUESTION.match(question)
        self.question = question[marker.end() :].strip() if marker else question

    def answer(self, answer: str, line: str) -> None:
        if not self.question:
            self.dropped.append(Dropped(line, "answer without a question"))
            self.question = None
        elif answer:
            self.pairs.append(Pair(self.question, answer))
            self.question = None

    def close(self) -> None:
        if self.question:
            self.dropped.append(Dropped(self.question, "question without an answer"))
        self.question = None


def _lines(text: str) -> list[str]:
    """Lines without emphasis, bullets and numbers before markers; one marker at most on each."""
    found = []
    for raw in text.splitlines():
        bare = _ORNAMENT.sub("", without_emphasis(raw).strip()).strip()
        unnumbered = _NUMBER.sub("", bare)
        if _QUESTION.match(unnumbered) or _ANSWER.match(unnumbered):
            bare = unnumbered
        for piece in _AGAIN.split(bare):
            found += [part.strip() for part in _INLINE.split(piece)]
    return [line for line in found if line]
