"""Which of the learned documents a question is about, if any: candidates by their words, then the model decides.

`candidates` finds documents that share words with the question (BM25). For each, `features` says how much of what is surprising in the question the
document holds, and how much likelier the question is to the model once it has read the document (as a query's likelihood ranks passages in UPR,
arXiv 2204.07496). The `Gate` weighs them: below its threshold the untrained model answers.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING

from selfedit.library.database import Library
from selfedit.library.gate import Features, Seen, worth_reading
from selfedit.library.records import Document, Found
from selfedit.text.stopwords import STOPWORDS
from selfedit.types import ScoreRequest, Tokens

if TYPE_CHECKING:
    from selfedit.engine.base import Engine

CANDIDATES = 3
"""Documents that are read for a question."""
CUE = "Question:"
WINDOW = 250
"""Words of a long document that are read."""


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


def features(
    engine: Engine, library: Library, questions: Sequence[str], seen: Seen, worth: Callable[[Features], bool] = worth_reading
) -> list[list[tuple[Found, Features]]]:
    """For each question its candidates, each with what speaks for it. What is not `seen` yet is measured, and joins it.

    Two calls of the engine for all: the questions alone, then after the documents that are `worth` reading.
    """
    found = candidates(library, questions)
    pairs = [(question, one.document) for question, ones in zip(questions, found, strict=True) for one in ones]
    new = [(question, document) for question, document in pairs if (question, document.id) not in seen]
    pieces = {question: _pieces(engine, question) for question, _ in new}
    tokens = {question: tuple(token for _, some in words for token in some) for question, words in pieces.items()}
    start = engine.tokenizer.encode(CUE)
    alone = dict(zip(tokens, _scores(engine, [ScoreRequest(start, some) for some in tokens.values()]), strict=True))
    for question, document in new:
        seen[question, document.id] = Features(*_held(document, pieces[question], alone[question]))
    read = [(question, document) for question, document in new if worth(seen[question, document.id])]
    after = _scores(engine, [ScoreRequest(_read(engine, document, question), tokens[question]) for question, document in read])
    for (question, document), logprobs in zip(read, after, strict=True):
        place = question, document.id
        seen[place] = replace(seen[place], told=fmean(logprobs) - fmean(alone[question]))
    return [[(one, seen[question, one.document.id]) for one in ones] for question, ones in zip(questions, found, strict=True)]


def _scores(engine: Engine, requests: Sequence[ScoreRequest]) -> list[tuple[float, ...]]:
    return [score.logprobs for score in engine.score(requests)] if requests else []


def _read(engine: Engine, document: Document, question: str) -> Tokens:
    """The document up to where a question about it begins. Of a long text the `WINDOW` words that share most with the question."""
    words, telling = document.context.split(), {_stem(word) for word in _terms(question) if word not in STOPWORDS}
    starts = range(0, max(1, len(words) - WINDOW // 2), WINDOW // 2)
    windows = [" ".join(words[at : at + WINDOW]) for at in starts] if len(words) > WINDOW else [document.context]
    text = max(windows, key=lambda window: len(telling & {_stem(word) for word in _terms(window)}))
    return engine.tokenizer.encode(f"{document.title}\n{text}\n\n{CUE}")


def _held(document: Document, pieces: Sequence[tuple[str, tuple[int, ...]]], logprobs: Sequence[float]) -> tuple[float, float]:
    """The surprise of the question's words that stand in the document, and of those that do not, as log(1 + nats); function words do not count."""
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
    return math.log1p(inside), math.log1p(outside)


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
