"""Plain-text tools that tasks, strategies and rewards share: how a question is asked, how texts are compared, times in words."""

from __future__ import annotations

from collections.abc import Iterable

from selfedit.text.normal import normalise, words


def ask(title: str, question: str) -> str:
    """A question as it is put to a model without the passage (SEAL's form)."""
    return f"Topic: {title}\n{question}"


def cue(asked: str) -> str:
    """A question as plain text, where there is no chat template, up to where its answer begins: with a space."""
    return f"{asked}\nAnswer:"


# ---------------------------------------------------------------- comparing texts


def contains(text: str, phrase: str) -> bool:
    """Whether the phrase's normalised words stand in the text, whole and in order."""
    return bool(words(phrase)) and f" {normalise(phrase)} " in f" {normalise(text)} "


def holding(sentences: Iterable[str], question: str, answer: str) -> str:
    """The sentence that holds the answer; among several, the one with most of the question's words; where none does, the answer itself."""
    found = [sentence for sentence in sentences if contains(sentence, answer)]
    asked = set(words(question))
    return max(found, key=lambda sentence: len(asked & set(words(sentence))), default=answer)


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
