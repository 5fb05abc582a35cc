"""Plain-text tools that domains, edits and rewards share: how a question is asked, how answers are compared."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

RECALL = 0.6
"""A prediction is right if it holds at least this share of the gold answer's words. Agrees with GPT-4.1's verdicts on SEAL's
released answers in 88 % (kappa 0.76), better than containment or exact match."""

_ARTICLES = {"a", "an", "the"}
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u9fff])")


def ask(title: str, question: str) -> str:
    """A question as it is put to a model without the passage (SEAL's form)."""
    return f"Topic: {title}\n{question}"


def cue(asked: str) -> str:
    """A question as plain text, where there is no chat template, up to where its answer begins: with a space."""
    return f"{asked}\nAnswer:"


# ---------------------------------------------------------------- comparing answers


@lru_cache(maxsize=8192)
def words(text: str) -> tuple[str, ...]:
    """SQuAD's normalisation (Rajpurkar et al. 2016): lower case, no punctuation, no English articles.

    Wider than the original in three ways: punctuation and symbols of all of Unicode are removed, equivalent spellings
    of a character are one (NFKC), and a character of Chinese or Japanese is a word.
    """
    return tuple(word for word in plain_words(text) if word not in _ARTICLES)


def plain_words(text: str) -> tuple[str, ...]:
    """As `words`, with the articles."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = "".join(c for c in folded if c.isalnum() or unicodedata.category(c)[0] not in "PS")
    return tuple(_UNSPACED.sub(r" \1 ", bare).split())


def normalise(text: str) -> str:
    """The normalised words, with single spaces."""
    return " ".join(words(text))


def gold_token_recall(prediction: str, gold: str) -> float:
    """Share of the gold answer's words (with their counts) that the prediction holds, 0 to 1."""
    said, wanted = words(prediction), words(gold)
    if not wanted:  # an answer of symbols or articles only: compare as written
        said, wanted = tuple(prediction.casefold().split()), tuple(gold.casefold().split())
    if not wanted:
        return 0.0
    return (Counter(said) & Counter(wanted)).total() / len(wanted)


def says(prediction: str, gold: str) -> bool:
    """Whether the prediction gives the gold answer: recall of at least `RECALL`."""
    return gold_token_recall(prediction, gold) >= RECALL


def contains(text: str, phrase: str) -> bool:
    """Whether the phrase's normalised words stand in the text, whole and in order."""
    return bool(words(phrase)) and f" {normalise(phrase)} " in f" {normalise(text)} "


def holding(sentences: Iterable[str], question: str, answer: str) -> str:
    """The sentence that holds the answer; among several, the one with most of the question's words; where none does, the answer itself."""
    found = [sentence for sentence in sentences if contains(sentence, answer)]
    asked = set(words(question))
    return max(found, key=lambda sentence: len(asked & set(words(sentence))), default=answer)


def exact_match(prediction: str, gold: str) -> bool:
    """SQuAD's exact match."""
    return words(prediction) == words(gold)


def near(one: str, other: str, share: float = 0.9) -> bool:
    """Whether two texts say almost the same: at least `share` of their words in common (Jaccard), and all their numbers."""
    a, b = set(words(one)), set(words(other))
    if not a and not b:
        return one.strip() == other.strip()
    return len(a & b) >= share * len(a | b) and not any(any(c.isdigit() for c in word) for word in a ^ b)


# ---------------------------------------------------------------- numbers in words


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
