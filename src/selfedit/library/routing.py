"""Which of the learned documents a question is about, if any: candidates by their words, then the model decides.

`candidates` finds documents that share words with the question (BM25). For each, `features` says how much of what is surprising in the question the
document holds, and how much likelier its adapter makes the question than the model without it does. The `Gate` weighs them: below its threshold the
model answers as it came.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from selfedit.library.adapters import Adapters
from selfedit.library.database import Library
from selfedit.library.records import Document, Found
from selfedit.text.stopwords import STOPWORDS
from selfedit.types import ScoreRequest

if TYPE_CHECKING:
    from selfedit.engine.base import Engine

CANDIDATES = 3
"""Documents whose adapters are asked about a question."""
LEAST = 0.15
"""Share of a question's surprise that a candidate has to hold."""


# ---------------------------------------------------------------- candidates


def candidates(library: Library, questions: Sequence[str], most: int = CANDIDATES) -> list[list[Found]]:
    """For each question the documents in force that share most words with it, the best first; none where none does. Titles count double."""
    if not library.exists():
        return [[] for _ in questions]
    with library.reading() as db:
        return [_candidates(db, question, most) for question in questions]


def _candidates(db: sqlite3.Connection, question: str, most: int) -> list[Found]:
    telling = [word for word in dict.fromkeys(_terms(question)) if word not in STOPWORDS]
    if not telling:
        return []
    query = " OR ".join(f'"{word}"' for word in telling)
    best = "SELECT rowid AS number, bm25(words, 2.0, 1.0, 1.0) AS score FROM words WHERE words MATCH ? ORDER BY score, number LIMIT ?"
    found = f"SELECT d.entry, d.title, d.context, d.asked FROM ({best}) JOIN documents d USING (number) ORDER BY score, number"
    rows = db.execute(found, (query, most)).fetchall()
    return [Found(entry, Document(title, context, tuple(asked.splitlines())), rank) for rank, (entry, title, context, asked) in enumerate(rows)]


def _terms(text: str) -> list[str]:
    """Words as the index has them: letters and digits alone."""
    return [word.casefold() for word in re.findall(r"[^\W_]+", text)]


# ---------------------------------------------------------------- features


@dataclass(frozen=True, slots=True)
class Features:
    """What speaks for a document. Likelihoods are of the question's tokens, nats.

    `share`: of the question's surprise to the model as it came, the part that falls on words of the document. `held`: that part itself, as log(1 +
    nats). `foreign`: the rest, likewise. `gain`: how much likelier the adapter makes the question, a token.
    """

    share: float
    held: float
    foreign: float
    gain: float


def features(
    adapters: Adapters, questions: Sequence[str], known: Mapping[tuple[str, str], float] | None = None
) -> list[list[tuple[Found, Features]]]:
    """For each question its candidates, each with what speaks for it. Two calls of the engine for all: the model as it came, then adapters.

    A gain that is `known`, by question and adapter, is not measured again.
    A candidate that holds less than `LEAST` of what is surprising in the question is none: most everyday questions need no adapter to be loaded.
    """
    engine = adapters.engine
    pieces = [_pieces(engine, question) for question in questions]
    start = engine.tokenizer.encode("Question:")
    found = candidates(adapters.library, questions)
    asked = [number for number, ones in enumerate(found) if ones]
    tokens = {number: tuple(token for _, some in pieces[number] for token in some) for number in asked}
    base = dict(zip(asked, _scores(engine, [ScoreRequest(start, tokens[number]) for number in asked]), strict=True))
    held = {number: [(one, *_held(one.document, pieces[number], base[number])) for one in found[number]] for number in asked}
    held = {number: kept for number, ones in held.items() if (kept := [one for one in ones if one[1] >= LEAST * (one[1] + one[2]) > 0])}
    places = [(number, one.entry) for number, ones in held.items() for one, _, _ in ones]
    gains = {(number, entry): known[questions[number], entry] for number, entry in places if known and (questions[number], entry) in known}
    places = [place for place in places if place not in gains]
    requests = [ScoreRequest(start, tokens[number], adapters.load(entry)) for number, entry in places]
    gains |= {
        (number, entry): (sum(logprobs) - sum(base[number])) / len(logprobs)
        for (number, entry), logprobs in zip(places, _scores(engine, requests), strict=True)
    }

    def speaks(number: int, one: Found, inside: float, outside: float) -> Features:
        return Features(inside / (inside + outside), math.log1p(inside), math.log1p(outside), gains[number, one.entry])

    return [[(one[0], speaks(number, *one)) for one in held.get(number, ())] for number in range(len(questions))]


def _scores(engine: Engine, requests: Sequence[ScoreRequest]) -> list[tuple[float, ...]]:
    return [score.logprobs for score in engine.score(requests)] if requests else []


def _held(document: Document, pieces: Sequence[tuple[str, tuple[int, ...]]], logprobs: Sequence[float]) -> tuple[float, float]:
    """The surprise of the question's words that stand in the document, and of those that do not, nats; function words do not count."""
    known, inside, outside, at = _vocabulary(document), 0.0, 0.0, 0
    for word, tokens in pieces:
        surprise = -sum(logprobs[at : at + len(tokens)])
        at += len(tokens)
        if not word or word in STOPWORDS:
            continue
        if _stem(word) in known:
            inside += surprise
        else:
            outside += surprise
    return inside, outside


def _pieces(engine: Engine, question: str) -> list[tuple[str, tuple[int, ...]]]:
    """The question's words, normalised (empty for one that has no letter or digit), each with its tokens."""
    return [(" ".join(_terms(word)).split(" ")[0] if _terms(word) else "", engine.tokenizer.encode_more(f" {word}")) for word in question.split()]


@lru_cache(maxsize=256)
def _vocabulary(document: Document) -> frozenset[str]:
    """What the document is told by: the stems of its words, and those of the questions that its self-edits asked."""
    return frozenset(_stem(word) for text in (document.title, document.context, *document.asked) for word in _terms(text))


def _stem(word: str) -> str:
    """Enough to find "builds" in "building": the word without a common English ending."""
    for ending in ("ing", "ies", "ied", "es", "ed", "ly", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
