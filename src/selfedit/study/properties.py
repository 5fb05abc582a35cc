"""What a self-edit is like, in numbers that are the same for every strategy, and which of them go with its reward. Pure functions.

Measured is what a self-edit teaches beside the passage itself. Words are lower-case, without punctuation. A statement, a question and an answer are
each a piece of their own: no n-gram and no fragment goes from one to the next. What cannot be measured, such as the overlap of nothing, is None.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from selfedit.grouping import grouped
from selfedit.study.reliability import TIE, spearman
from selfedit.text import ask, near, plain_words
from selfedit.types import Example, SelfEdit, Task

_OWN = re.compile("""'.*'|".*\"""")

GRAM = 3
"""Words of the n-grams that say whether texts are alike."""

Piece = tuple[str, ...]
Values = Mapping[str, float | None]
"""Each of PROPERTIES, of one self-edit."""

PROPERTIES = ("written", "words", "facts", "coverage", "density", "copied", "novelty", "distinct", "similarity", "dropped")
"""`written`: words of the completions as they came; `words`: of the examples; `facts`: statements and question-answer pairs, near repetitions once;
`coverage`, `density`: extractive fragments (`overlap`); `copied`: share of the trigrams that the passage has; `novelty`: 1 - the greatest Jaccard
similarity of trigrams with an earlier self-edit; `distinct`: distinct-2; `similarity`: mean Jaccard similarity of trigrams with the others of the
group, whose mean over the group is the mean over all pairs; `dropped`: share of the pieces that were not used."""


# ---------------------------------------------------------------- what was written


def taught(task: Task, edit: SelfEdit) -> list[Example]:
    """The examples without the passage, and without the title that stands before each."""
    bare = [Example(e.text.removeprefix(f"{task.title}\n"), e.prompt.removeprefix(ask(task.title, ""))) for e in edit.examples]
    return [example for example in bare if example.prompt or example.text != task.context]


@dataclass(frozen=True, slots=True)
class Text:
    """The words of what a self-edit teaches, piece by piece, with the set of its trigrams."""

    pieces: tuple[Piece, ...]
    examples: int
    facts: int
    grams: frozenset[Piece]


def read(task: Task, edit: SelfEdit) -> Text:
    """A self-edit about a task."""
    examples = taught(task, edit)
    pieces = tuple(piece for e in examples for text in (e.prompt, e.text) if (piece := plain_words(text)))
    return Text(pieces, len(examples), _facts(examples), frozenset(_grams(pieces, GRAM)))


def _facts(examples: Sequence[Example]) -> int:
    """Those that say something, and not what one before them says in almost the same words."""
    said: list[str] = []
    for whole in (f"{e.prompt}\n{e.text}" for e in examples):
        if plain_words(whole) and not any(near(whole, other) for other in said):
            said.append(whole)
    return len(said)


def _grams(pieces: Iterable[Piece], n: int) -> list[Piece]:
    return [piece[i : i + n] for piece in pieces for i in range(len(piece) - n + 1)]


# ---------------------------------------------------------------- single measures


def overlap(pieces: Sequence[Piece], passage: Piece) -> tuple[float, float] | None:
    """Extractive coverage and density (Grusky et al. 2018, section 4.1): share of the words that lie in fragments shared with the passage, and mean
    over the words of the length of their fragment. Fragments are matched greedily from the left, the longest that starts at each word."""
    total = sum(map(len, pieces))
    if not total:
        return None
    lengths = [length for piece in pieces for length in fragments(piece, passage)]
    return sum(lengths) / total, sum(length**2 for length in lengths) / total


def fragments(piece: Piece, passage: Piece) -> list[int]:
    """Lengths, in words, of the longest shared fragments of a piece, from left to right."""
    starts = grouped((word, place) for place, word in enumerate(passage))
    lengths, i = [], 0
    while i < len(piece):
        longest = max((_shared(piece, i, passage, j) for j in starts.get(piece[i], ())), default=0)
        lengths += [longest] if longest else []
        i += max(1, longest)
    return lengths


def _shared(a: Piece, i: int, b: Piece, j: int) -> int:
    n = 0
    while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
        n += 1
    return n


def copied(pieces: Sequence[Piece], passage: Piece) -> float | None:
    """Share of the trigrams that stand in the passage: what "novel n-grams" (See et al. 2017) leave of 1."""
    there, found = set(_grams([passage], GRAM)), _grams(pieces, GRAM)
    return sum(gram in there for gram in found) / len(found) if found else None


def distinct(pieces: Sequence[Piece], n: int = 2) -> float | None:
    """distinct-n (Li et al. 2016): different n-grams over the number of words."""
    total = sum(map(len, pieces))
    return len(set(_grams(pieces, n))) / total if total else None


def jaccard(a: frozenset[Piece], b: frozenset[Piece]) -> float | None:
    """Share of n-grams in common, of all that either has; None where neither has any."""
    return len(a & b) / len(a | b) if a or b else None


def reason(said: str) -> str:
    """Why a piece was dropped, without what is the piece's own: `the passage has no 'Tom'` is `the passage has no …`."""
    return _OWN.sub("…", said)


# ---------------------------------------------------------------- self-edits


def group(task: Task, edits: Sequence[SelfEdit], earlier: Sequence[Text] = ()) -> list[Values]:
    """The properties of self-edits that were written together; `earlier` are those that were written about the same passage before."""
    texts = [read(task, edit) for edit in edits]
    passage = plain_words(f"{task.title}\n{task.context}")
    return [
        _properties(edit, text, passage, [other for k, other in enumerate(texts) if k != i], earlier)
        for i, (edit, text) in enumerate(zip(edits, texts, strict=True))
    ]


def _properties(edit: SelfEdit, text: Text, passage: Piece, others: Sequence[Text], earlier: Sequence[Text]) -> Values:
    shared = overlap(text.pieces, passage)
    alike = [found for other in others if (found := jaccard(text.grams, other.grams)) is not None]
    before = [found for other in earlier if (found := jaccard(text.grams, other.grams)) is not None]
    pieces = text.examples + len(edit.dropped)
    return {
        "written": float(sum(len(plain_words(turn.completion)) for turn in edit.turns)),
        "words": float(sum(map(len, text.pieces))),
        "facts": float(text.facts),
        "coverage": shared[0] if shared else None,
        "density": shared[1] if shared else None,
        "copied": copied(text.pieces, passage),
        "novelty": 1 - max(before) if before and text.grams else None,
        "distinct": distinct(text.pieces),
        "similarity": sum(alike) / len(alike) if alike else None,
        "dropped": len(edit.dropped) / pieces if pieces else None,
    }


def shares(names: Iterable[str], of: int | None = None) -> dict[str, float]:
    """How often each occurs, of all or of so many; the most frequent first."""
    counted = Counter(names)
    total = counted.total() if of is None else of
    return {name: n / total for name, n in counted.most_common()}


# ---------------------------------------------------------------- what goes with reward

Scored = Sequence[tuple[Values, float]]
"""The self-edits of one task that a selection chooses from, with their rewards."""


def with_reward(tasks: Sequence[Sequence[Scored]]) -> dict[str, list[list[float]]]:
    """Spearman's rank correlation of each property with the reward: within each round of each task, for that is what selection sees.

    A round in which all rewards, or all values of a property, are equal says nothing of it and is left out.
    """
    return {name: [[rho for scored in rounds if (rho := _rank(scored, name)) is not None] for rounds in tasks] for name in PROPERTIES}


def _rank(scored: Scored, name: str) -> float | None:
    known = [(value, reward) for values, reward in scored if (value := values[name]) is not None]
    return spearman(np.array([value for value, _ in known]), np.array([reward for _, reward in known]))


def differ(tasks: Sequence[Sequence[Scored]]) -> bool:
    """Whether any two rewards of a task differ in a round."""
    return any(round(one - other, TIE) for rounds in tasks for scored in rounds for (_, one), (_, other) in pairwise(scored))
