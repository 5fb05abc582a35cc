"""Completions into training examples. Weak models repeat themselves, echo the prompt and leak its example: all that is left out and recorded."""

from __future__ import annotations

from dataclasses import dataclass

import regex as re

from selfedit.text import QUESTION_MARKS, ask, contains, near, normalise, words
from selfedit.text.markup import without_emphasis
from selfedit.text.pairs import Pair, read_pairs
from selfedit.types import Dropped, Example

LINES = 30
"""The most statements or questions of one self-edit (SEAL)."""

_MARKS = re.compile(r"^(?:\(?\d{1,2}[.):\]]\s+|\([ivx]+\)\s+|\d{1,2}[.)]$|[-*•·▪–—+>]+\s+|[•·▪]+|[a-zA-Z]\)\s+)")
_LABEL = re.compile(r"^(?:implication|(?:key )?fact|rewrite|rewritten passage|version|statement)s?\s*\d*\s*:\s*", re.IGNORECASE)
_FORMATTING = re.compile(r"^(?:```.*|~~~.*|[-*_=#\s]{2,}|#)$")
_HEADING = re.compile(r"^#{1,6}\s|^(?:\*\*|__)[^.!?]*(?:\*\*|__):?$")
_LEAD_IN = re.compile(r"^(?:sure|certainly|of course|okay|ok|here (?:is|are)|here's|below (?:is|are)|the following)\b.*[:!.]$", re.IGNORECASE)
_CLOSING = re.compile(
    r"^(?:i hope (?:this|that|these)|let me know|please let me know|feel free|these implications|in (?:summary|conclusion)\b.*:$)", re.IGNORECASE
)
_NEXT_PASSAGE = re.compile(r"^(?:passage|text)\s*:|^let's read the following passage", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"^(?:n/?a|none|unknown|unclear|unspecified|\W*|(?:it is |this is )?not (?:mentioned|specified|stated|given|known|provided|applicable)\b.*"
    r"|the (?:passage|text) (?:does not|doesn't|did not)\b.*)\.?$",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b\p{Lu}\w+(?: (?:of )?\p{Lu}\w+)+")


@dataclass(frozen=True, slots=True)
class Draft:
    """A completion (its complete part) with what it was written for; `seed` is the self-edit's."""

    title: str
    context: str
    prompt: str
    text: str
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Parsed:
    """Examples in the order they were written, and what was left out."""

    examples: tuple[Example, ...] = ()
    dropped: tuple[Dropped, ...] = ()


def nothing(draft: Draft) -> Parsed:
    """For a strategy that writes nothing."""
    return Parsed(dropped=(Dropped(draft.text, "this strategy writes nothing"),) if draft.text.strip() else ())


def statements(draft: Draft) -> Parsed:
    """One example `title, newline, statement` a line, numbering and bullets removed."""
    sheet = _Sheet(draft)
    lines = [line.strip() for line in draft.text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if _NEXT_PASSAGE.match(line) and sheet.kept:
            sheet.drop("\n".join(lines[number:]), "written after the end of the list")
            break
        follower = lines[number + 1] if number + 1 < len(lines) else ""
        reason = _not_content(line, first=number == 0, follower=follower)
        statement = _bare(line)
        if reason := reason or _not_statement(statement, draft):
            sheet.drop(line, reason)
        else:
            sheet.add(line, statement, Example(f"{draft.title}\n{statement}"))
    return sheet.parsed()


def questions(draft: Draft, grounded: bool = False, quoted: bool = False) -> Parsed:
    """One example a question, asked as in an evaluation, of which the answer is learned.

    One that is `grounded` may only name what the passage names, and must not hold its answer: for writers that make things up. If answers are to be
    `quoted`, the passage has to have them, word for word.
    """
    sheet = _Sheet(draft)
    pairs, dropped = read_pairs(draft.text)
    sheet.dropped += dropped
    for pair in pairs:
        whole = f"{pair.question}\n{pair.answer}"
        if reason := _not_question(pair) or (_not_grounded(pair, draft) if grounded else None):
            sheet.drop(whole, reason)
        elif quoted and not contains(draft.context, pair.answer):
            sheet.drop(whole, "the passage does not have the answer")
        else:
            sheet.add(whole, pair.question, Example(pair.answer, prompt=ask(draft.title, pair.question)))
    return sheet.parsed()


# ---------------------------------------------------------------- rules for one piece


def _not_content(line: str, first: bool, follower: str) -> str | None:
    """Why a line is frame and not content."""
    if _FORMATTING.match(line):
        return "formatting"
    if first and (_LEAD_IN.match(line) or (follower.startswith("1.") and not _MARKS.match(line))):
        return "lead-in"
    if _HEADING.match(line) or (line.endswith((":", "：")) and len(line) <= 80):
        return "heading"
    return "closing remark" if _CLOSING.match(line) else None


def _not_statement(statement: str, draft: Draft) -> str | None:
    if not statement:
        return "empty"
    if normalise(statement) == normalise(draft.title):
        return "only the title"
    if len(words(statement)) < 3 and len(statement) < 20:
        return "too short for a statement"
    return "copy of the passage" if near(statement, draft.context) else None


def _not_question(pair: Pair) -> str | None:
    if len(words(pair.question)) < 2:
        return "too short for a question"
    if _NO_ANSWER.match(pair.answer):
        return "the answer says nothing"
    return "the answer repeats the question" if normalise(pair.answer) == normalise(pair.question) else None


def _not_grounded(pair: Pair, draft: Draft) -> str | None:
    """Why a question cannot be about the passage."""
    if not pair.question.endswith(QUESTION_MARKS):
        return "not a question"
    if contains(pair.question, pair.answer):
        return "the answer stands in the question"
    named = re.findall(r"(?<=[\w,] )\p{Lu}\w+|\d+", pair.question)
    source = f"{draft.title}\n{draft.context}"
    return next((f"the passage has no {name!r}" for name in named if not contains(source, name)), None)


def _bare(line: str) -> str:
    """The line without numbering, bullets, labels and emphasis."""
    bare = without_emphasis(line).strip()
    while (shorter := _LABEL.sub("", _MARKS.sub("", bare)).strip()) != bare:
        bare = shorter
    return bare


def _loops(text: str) -> bool:
    """Whether a text says the same few words over and over."""
    said = words(text)
    return len(said) >= 20 and len(set(said)) < 0.35 * len(said)


# ---------------------------------------------------------------- rules across pieces


class _Sheet:
    """Collects examples; refuses what repeats, loops or comes from the prompt."""

    def __init__(self, draft: Draft) -> None:
        self.passage = passage = f"{draft.title}\n{draft.context}"
        frame = draft.prompt.replace(passage, "\n")
        self.frame = [re.sub(r"^(?:question|answer)\s*\d*:\s*", "", _bare(line), flags=re.IGNORECASE) for line in frame.splitlines() if line.strip()]
        self.foreign = [name for name in set(_NAME.findall(frame)) if not contains(passage, name)]
        self.kept: list[str] = []
        self.examples: list[Example] = []
        self.dropped: list[Dropped] = []

    def add(self, whole: str, key: str, example: Example) -> None:
        """Keep an example of the piece `whole` unless a rule speaks against it; `key` is what must not repeat."""
        if reason := self._against(whole, key, example.text):
            self.drop(whole, reason)
        else:
            self.kept.append(key)
            self.examples.append(example)

    def drop(self, text: str, reason: str) -> None:
        self.dropped.append(Dropped(text, reason))

    def parsed(self) -> Parsed:
        return Parsed(tuple(self.examples), tuple(self.dropped))

    def _against(self, whole: str, key: str, learned: str) -> str | None:
        if len(self.kept) == LINES:
            return f"beyond {LINES}"
        if self._copied(whole, key, learned):
            return "copied from the prompt"
        if _loops(whole):
            return "says the same words over and over"
        if any(normalise(key) == normalise(other) for other in self.kept):
            return "repetition"
        return "near repetition" if any(near(key, other) for other in self.kept) else None

    def _copied(self, whole: str, key: str, learned: str) -> bool:
        """Whether a piece comes from the prompt's example: its question or statement, a name, or an answer that the passage does not have."""
        if any(near(key, line, share=0.8) for line in self.frame) or any(contains(whole, name) for name in self.foreign):
            return True
        return not contains(self.passage, learned) and any(normalise(learned) == normalise(line) for line in self.frame)
