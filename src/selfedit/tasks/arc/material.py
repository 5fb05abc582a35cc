"""What an adapter is trained on: every demonstration in turn is asked for with the others in view, seen in the ways that the self-edit chose."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, cycle, islice
from typing import Literal

from selfedit.tasks.arc.augmenters import GROUPS
from selfedit.tasks.arc.forms import Form
from selfedit.tasks.arc.grids import Pair
from selfedit.tasks.arc.views import COLOURS, View, permutation
from selfedit.types import Example

Learned = Literal["all", "answer", "outputs"]
"""What is learned of a sequence: every token, the last output alone, or every output after the first (the first cannot be known)."""

Sequence_ = tuple[Pair, ...]
"""Pairs of one training sequence, the one that is asked for last."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a self-edit says of its data: groups of transformations, colours and orders permuted or not, and what is learned."""

    groups: tuple[str, ...] = ()
    colours: bool = False
    order: bool = False
    learned: Learned = "outputs"


def sequences(demonstrations: Sequence[Pair], choice: Choice, number: int, dropped: int, fill: bool, seed: int) -> list[Sequence_]:
    """`number` training sequences at most, each different from the others; with `fill`, those that there are, over and over until there are so many.

    Each demonstration is asked for after the others, of which up to `dropped` are left out. Where the choice permutes colours or orders, there are
    always enough; the first of every transformation stands unpermuted.
    """
    rng = random.Random(seed)
    plain = [seen for one in left_out(demonstrations, dropped) for seen in transformed(one, choice.groups, rng)]
    plain = list(dict.fromkeys(plain))
    rng.shuffle(plain)
    found = dict.fromkeys(plain[:number])
    if choice.colours or choice.order:
        for one in islice(cycle(plain), 20 * number):
            if len(found) >= number:
                break
            found[permuted(one, choice, rng)] = None
    chosen = list(found)
    return list(islice(cycle(chosen), number)) if fill else chosen


def left_out(demonstrations: Sequence[Pair], dropped: int) -> Iterator[Sequence_]:
    """Each demonstration last, after all others, and after every selection of them that lacks up to `dropped`; a lone one stands by itself."""
    for n, asked in enumerate(demonstrations):
        others = [*demonstrations[:n], *demonstrations[n + 1 :]]
        for fewer in range(dropped + 1):
            size = len(others) - fewer
            if size > 0 or fewer == 0:
                yield from ((*some, asked) for some in combinations(others, size))


def transformed(pairs: Sequence_, groups: Sequence[str], rng: random.Random) -> Iterator[Sequence_]:
    """The pairs as they are, and under each transformation of the groups that leaves them small enough."""
    yield pairs
    for augmenter in (one for group in groups for one in GROUPS[group]):
        chance = rng.randrange(6)
        seen = [augmenter.pair(pair, chance) for pair in pairs]
        if None not in seen:
            yield tuple(pair for pair in seen if pair is not None)


def permuted(pairs: Sequence_, choice: Choice, rng: random.Random) -> Sequence_:
    """The pairs in other colours, in another order, or both; any of them may then be the one that is asked for."""
    view = replace(View(), colours=permutation(rng) if choice.colours else COLOURS)
    seen = [view.pair(pair) for pair in pairs]
    return tuple(rng.sample(seen, len(seen)) if choice.order else seen)


def example(pairs: Sequence_, learned: Learned, form: Form) -> Example:
    """A sequence as text, each piece with its weight."""
    last = len(pairs) - 1
    everything = float(learned == "all")
    pieces = [(form.head, everything)] if form.head else []
    for n, pair in enumerate(pairs):
        weight = float(learned == "all" or n == last or (learned == "outputs" and n > 0))
        pieces += [(form.asked(pair.input), everything), (form.answered(pair.output), weight)]
    return Example("", pieces=tuple(pieces))
