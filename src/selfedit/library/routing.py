"""Which of the learned documents a question is about, if any: candidates by their words, then the model decides.

`candidates` finds documents that share words with the question (BM25). For each, `features` says how much of what is surprising in the question the
document holds, and how much likelier its adapter makes the question than the model without it and than other adapters do. The `Gate` weighs them:
below its threshold the model answers as it came.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, Self

from selfedit.library.database import Document, Found, Library
from selfedit.text import words
from selfedit.text.stopwords import STOPWORDS
from selfedit.types import Adapter, ScoreRequest

if TYPE_CHECKING:
    from selfedit.engine.base import Engine

CANDIDATES = 3
"""Documents whose adapters are asked about a question."""
_OTHERS = 3
"""Further adapters that a candidate is compared with, where there are so many."""


# ---------------------------------------------------------------- candidates


def candidates(library: Library, question: str, most: int = CANDIDATES) -> list[Found]:
    """The documents in force that share most words with the question, the best first; none where none does. Titles count double."""
    asked = [word for word in dict.fromkeys(_terms(question)) if word not in STOPWORDS]
    if not asked or not library.exists():
        return []
    query = " OR ".join(f'"{word}"' for word in asked)
    found = (
        "SELECT d.number, d.entry, d.title, d.context, d.asked FROM words JOIN documents d ON d.number = words.rowid "
        "WHERE words MATCH ? ORDER BY bm25(words, 2.0, 1.0, 1.0), d.number LIMIT ?"
    )
    with library.reading() as db:
        rows = db.execute(found, (query, most)).fetchall()
    return [Found(row[0], row[1], Document(row[2], row[3], tuple(row[4].splitlines())), rank) for rank, row in enumerate(rows)]


def _terms(text: str) -> list[str]:
    """Words as the index has them: letters and digits alone."""
    return [word.casefold() for word in re.findall(r"[^\W_]+", text)]


# ---------------------------------------------------------------- features


@dataclass(frozen=True, slots=True)
class Features:
    """What speaks for a document. Likelihoods are of the question's tokens, nats.

    `share`: of the question's surprise to the model as it came, the part that falls on words of the document. `held`: that part itself, log(1 + nats).
    `foreign`: the rest, likewise. `gain`: how much likelier the adapter makes the question, a token. `contrast`: that gain less the mean gain under other
    adapters, a token; 0 where there are none.
    """

    share: float
    held: float
    foreign: float
    gain: float
    contrast: float


def features(engine: Engine, library: Library, questions: Sequence[str], adapters: Adapters) -> list[list[tuple[Found, Features]]]:
    """For each question its candidates, each with what speaks for it. One call of the engine for all."""
    found = [candidates(library, question) for question in questions]
    pieces = [_pieces(engine, question) for question in questions]
    start = engine.tokenizer.encode("Question:")
    requests: list[ScoreRequest] = []
    places: dict[tuple[int, str], int] = {}
    for number, (ones, parts) in enumerate(zip(found, pieces, strict=True)):
        if not ones:
            continue
        tokens = tuple(token for _, some in parts for token in some)
        for entry in ("", *dict.fromkeys([one.entry for one in ones] + adapters.others({one.entry for one in ones}))):
            places[number, entry] = len(requests)
            requests.append(ScoreRequest(start, tokens, adapters.load(entry) if entry else None))
    scores = engine.score(requests) if requests else []
    logprobs = {place: scores[at].logprobs for place, at in places.items()}
    return [_of_question(number, ones, pieces[number], logprobs) for number, ones in enumerate(found)]


def _of_question(
    number: int, found: Sequence[Found], pieces: Sequence[tuple[str, tuple[int, ...]]], logprobs: Mapping[tuple[int, str], tuple[float, ...]]
) -> list[tuple[Found, Features]]:
    if not found:
        return []
    base = logprobs[number, ""]
    surprise, at = [], 0
    for word, tokens in pieces:
        surprise.append((word, -sum(base[at : at + len(tokens)])))
        at += len(tokens)
    gains = {entry: (sum(values) - sum(base)) / len(base) for (n, entry), values in logprobs.items() if n == number and entry}
    result = []
    for one in found:
        known = _vocabulary(one.document)
        telling = [(s, _stem(word) in known) for word, s in surprise if word and word not in STOPWORDS]
        held, foreign = sum(s for s, inside in telling if inside), sum(s for s, inside in telling if not inside)
        others = [gain for entry, gain in gains.items() if entry != one.entry]
        contrast = gains[one.entry] - fmean(others) if others else 0.0
        result.append((one, Features(held / ((held + foreign) or 1.0), math.log1p(held), math.log1p(foreign), gains[one.entry], contrast)))
    return result


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


# ---------------------------------------------------------------- adapters


class Adapters:
    """The adapters of a library in an engine: loaded when they are first asked, dropped at the end of the block, or when there are too many."""

    def __init__(self, engine: Engine, library: Library, most: int = 64) -> None:
        self.engine, self.library, self.most = engine, library, most
        self.loaded: dict[str, Adapter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.trim(0)

    def names(self) -> list[str]:
        """Those in force, in the order in which they came."""
        return self.library.names()

    def load(self, entry: str) -> Adapter:
        """The adapter of this name. Raises LedgerError where it is not what was learned."""
        if entry not in self.loaded:
            self.loaded[entry] = self.engine.load(self.library.check(entry))
        else:
            self.loaded[entry] = self.loaded.pop(entry)  # the last one of those that were asked
        return self.loaded[entry]

    def trim(self, most: int | None = None) -> None:
        """Drop those that were not asked for longest. Not while a call that uses them is being put together."""
        while len(self.loaded) > (self.most if most is None else most):
            self.engine.drop(self.loaded.pop(next(iter(self.loaded))))

    def others(self, candidates: set[str]) -> list[str]:
        """Further adapters to compare candidates with: the first in force that are none of them."""
        return [entry for entry in self.library.names(len(candidates) + _OTHERS) if entry not in candidates][:_OTHERS]
