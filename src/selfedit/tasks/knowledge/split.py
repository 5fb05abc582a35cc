"""Knowledge incorporation: learn a passage, then answer questions on it without seeing it (SEAL section 4.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import combinations
from typing import Literal

from selfedit.errors import DataError
from selfedit.grouping import grouped
from selfedit.tasks.knowledge.rows import read_row
from selfedit.text import normalise, says, words
from selfedit.text.stopwords import STOPWORDS
from selfedit.types import Passage, Question, Task


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
        read = read_row(row, f"{file}, line {number}")
        found.append((Passage(f"corpus-{number:04d}", read.title, read.context, read.questions), str(row["split"])))
    return tuple(found)


def divide(passage: Passage, report_share: float, seed: int) -> Task:
    """Divide a passage's questions between reward and report, so that what is asked for on one side is not asked for on the other.

    Questions stay together that have the same fact, the same words, the same gold answer (any of them; `yes` and `no` say nothing), or nearly the
    same words; `joined` then says with which, and why. A question that is like no other is a fact of its own. Each side gets at least one of two or
    more facts; a lone fact goes to the report, and one to which nobody knows the answer never does. Depends on the seed and this passage alone.
    """
    questions, groups = _grouped(passage)
    known = [group for group in groups if all(questions[i].answer for i in group)]
    order = sorted(known, key=lambda group: _shuffle(seed, passage.id, questions[group[0]]))
    report = round(len(order) * report_share)
    report = max(1, min(report, len(order) - 1))
    reported = {i for group in order[:report] for i in group}
    return Task(
        id=passage.id,
        title=passage.title,
        context=passage.context,
        reward_questions=tuple(question for i, question in enumerate(questions) if i not in reported),
        report_questions=tuple(question for i, question in enumerate(questions) if i in reported),
    )


# ---------------------------------------------------------------- which questions ask for the same


NEAR = 0.5
"""Questions with this share of their content words in common (Jaccard) ask for the same, where the judge takes one's answer for the other's."""
ALIKE = 0.8
"""So do questions with this share, whatever their answers, if they do not ask one for who and the other for when. Both numbers were chosen by reading
the pairs of questions of 300 SQuAD passages: below 0.8, most pairs with other answers ask for different things."""

_CLOSED = frozenset(("yes", "no", "true", "false"))
_ASKED = {"who": "who", "whom": "who", "whose": "who", "when": "when", "where": "where", "why": "why", "how": "how"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is compared of a question: keys that it shares with no other fact, its content words, question words and answers."""

    keys: Mapping[str, str]
    content: frozenset[str]
    asks: frozenset[str]
    answers: frozenset[str]


def same(one: Question, other: Question, title: str) -> bool:
    """Whether two questions about a passage of this title ask for the same."""
    return bool(_same(_asked(one, title), _asked(other, title)))


def _grouped(passage: Passage) -> tuple[list[Question], list[list[int]]]:
    """The questions, each with the reason why it is `joined` with others, and the groups of their places."""
    asked = [_asked(question, passage.title) for question in passage.questions]
    group = list(range(len(asked)))
    why = [""] * len(asked)
    for i, j in combinations(range(len(asked)), 2):
        if (group[i] != group[j] or not why[j]) and (reason := _same(asked[i], asked[j])):
            why[i] = why[i] or f"{reason}: {passage.questions[j].question}"
            why[j] = why[j] or f"{reason}: {passage.questions[i].question}"
            group = [group[i] if of == group[j] else of for of in group]
    places = grouped((of, i) for i, of in enumerate(group))
    return [replace(question, joined=reason) for question, reason in zip(passage.questions, why, strict=True)], list(places.values())


def _asked(question: Question, title: str) -> _Asked:
    answers = [normalise(answer) or answer.strip() for answer in (question.answer, *question.aliases) if answer.strip()]
    keys = {f"answer {answer}": "same answer as" for answer in answers if answer not in _CLOSED}
    keys |= {f"text {normalise(question.question) or question.question.strip()}": "same words as"}
    keys |= {f"fact {question.fact}": "same fact as"} if question.fact is not None else {}
    said = words(question.question)
    content = frozenset(word for word in said if word not in STOPWORDS and len(word) > 2) - set(words(title))
    return _Asked(keys, content, frozenset(_ASKED[word] for word in said if word in _ASKED), frozenset(answers) - _CLOSED)


def _same(one: _Asked, other: _Asked) -> str:
    """Why two questions ask for the same; empty where they do not."""
    if common := one.keys.keys() & other.keys.keys():
        return one.keys[max(common)]  # the fact before the answer, the words before both
    alike = len(one.content & other.content) / max(1, len(one.content | other.content))
    if alike >= NEAR and any(says(a, b) or says(b, a) for a in one.answers for b in other.answers):
        return "much the same question and answer as"
    if alike >= ALIKE and len(one.content & other.content) > 1 and (one.asks == other.asks or not (one.asks and other.asks)):
        return "nearly the same words as"
    return ""


def _shuffle(seed: int, passage_id: str, question: Question) -> bytes:
    return hashlib.sha256(f"{seed}\0{passage_id}\0{question.fact}\0{question.question}\0{question.answer}".encode()).digest()
