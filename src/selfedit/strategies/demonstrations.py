"""Good self-edits, made of questions with answers: what a weak writer is shown before it writes, in the very form in which it will be asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from selfedit.errors import ConfigError
from selfedit.strategies.spans import pieces
from selfedit.text import contains
from selfedit.types import Demonstration, Passage, Prompt, Question, Turn

_BE = "is|was|are|were"
_AUXILIARY = rf"{_BE}|did|does|do|has|have|had|can|could|will|would|may|might|should|must"
_SUBJECT = re.compile(rf"(?:Who (?!(?:{_AUXILIARY}|else)\b)|What (?=[a-z]+ed ))((?:\w+[^s\W]|\w+(s)) [^?]+)\?")
_NAMED = re.compile(rf"(?:What|Who) ({_BE}) (the (?:name|colour|title|number|price|age|nickname|trade|cost)\b[^?]*|[A-Z][\w' ]*['’]s [^?]*)\?")
FEWEST = 2
"""A list of less is no good self-edit."""


def demonstrate(shown: Demonstration, name: str, chat: bool) -> list[Turn]:
    """Prompts of the strategy with what a good writer answers; none where there is nothing to make it of. What its parser would drop is left out.

    Raises ConfigError for an unknown strategy, and for a completion for one that does not ask once for the whole passage.
    """
    from selfedit.strategies.base import Source, find

    if shown.strategy not in ("", name):
        return []
    strategy, passage = find(name), replace(shown.passage, questions=tuple(q for q in shown.passage.questions if q.answer))
    source = Source(passage.title, passage.context, chat)
    if shown.completion and shown.strategy and not strategy.at_once:
        raise ConfigError(f"a completion cannot be shown for strategy '{name}', which does not ask for all at once; give questions instead")
    if shown.completion:
        turns = [turn(strategy.ask(source)[0], shown.completion)] if strategy.at_once else []
    else:
        turns = strategy.demonstrations(passage, source)
    return [one for one in turns if len(strategy.build(passage.title, passage.context, [one]).examples) > 1]


def wordings(questions: Sequence[Question]) -> list[list[Question]]:
    """The first wording of every fact, the second of all that have one, and so on; a question without a fact is its own."""
    sets: list[list[Question]] = []
    seen: dict[str, int] = {}
    for question in questions:
        place = seen.get(question.fact, 0) if question.fact is not None else 0
        if question.fact is not None:
            seen[question.fact] = place + 1
        if place == len(sets):
            sets.append([])
        sets[place].append(question)
    return sets


def turn(prompt: Prompt, text: str) -> Turn:
    """What follows the prompt: not again what it ends with, as a list's `1.`."""
    begun = prompt.text.rpartition("\n")[2] if prompt.continued else ""
    rest = text.strip().removeprefix(begun)
    return Turn(prompt, f" {rest.lstrip()}" if begun else rest)


def numbered_statements(passage: Passage, prompt: Prompt) -> list[Turn]:
    """One turn with a numbered list of the passage's facts; none where there are too few."""
    said = _statements(passage)
    return [turn(prompt, "\n".join(f"{n}. {text}" for n, text in enumerate(said, start=1)))] if len(said) >= FEWEST else []


def _statements(passage: Passage) -> list[str]:
    """A sentence for each fact: its question turned round or, failing that, one of the passage's that holds the answer and names the topic."""
    found: dict[str | None, str] = {}
    for question in passage.questions:
        fact = question.fact or question.question
        sentence = next((piece for piece in pieces(passage.context) if question.answer in piece and contains(piece, passage.title)), None)
        if text := statement(question) or sentence:
            found.setdefault(fact, text)
    return list(dict.fromkeys(found.values()))


def statement(question: Question) -> str | None:
    """`Who raised it?` and `Hedda Ruskin` → `Hedda Ruskin raised it.`; None for questions that ask otherwise than for a subject or a name."""
    answer = question.answer[:1].upper() + question.answer[1:]
    if (asks := _SUBJECT.fullmatch(question.question)) and not (asks[2] and answer.endswith("s")):  # plurals do not `raises`
        return f"{answer} {asks[1]}."
    if asks := _NAMED.fullmatch(question.question):
        return f"{asks[2][:1].upper()}{asks[2][1:]} {asks[1]} {question.answer}."
    return None
