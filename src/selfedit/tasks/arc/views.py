"""Ways of seeing a puzzle, each with its exact inverse: the eight symmetries of the square, permutations of colours, orders of demonstrations."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from selfedit.tasks.arc.grids import Grid, Pair

T = TypeVar("T")
COLOURS = tuple(range(10))
"""Every colour as itself."""


def transpose(of: Grid) -> Grid:
    """Rows become columns."""
    return tuple(zip(*of, strict=True))


def flip_rows(of: Grid) -> Grid:
    """The last row first."""
    return of[::-1]


def flip_columns(of: Grid) -> Grid:
    """The last column first."""
    return tuple(row[::-1] for row in of)


def turn(of: Grid) -> Grid:
    """A quarter turn to the left."""
    return flip_rows(transpose(of))


def turn_half(of: Grid) -> Grid:
    """A half turn."""
    return flip_rows(flip_columns(of))


def turn_back(of: Grid) -> Grid:
    """A quarter turn to the right."""
    return flip_columns(transpose(of))


def transpose_other(of: Grid) -> Grid:
    """Mirrored at the other diagonal."""
    return turn_half(transpose(of))


def same(of: Grid) -> Grid:
    """As it is."""
    return of


@dataclass(frozen=True, slots=True)
class Symmetry:
    """A symmetry of the square and its inverse."""

    name: str
    apply: Callable[[Grid], Grid]
    undo: Callable[[Grid], Grid]


DIHEDRAL = (
    Symmetry("as it is", same, same),
    Symmetry("turned left", turn, turn_back),
    Symmetry("turned by half", turn_half, turn_half),
    Symmetry("turned right", turn_back, turn),
    Symmetry("rows flipped", flip_rows, flip_rows),
    Symmetry("columns flipped", flip_columns, flip_columns),
    Symmetry("transposed", transpose, transpose),
    Symmetry("transposed at the other diagonal", transpose_other, transpose_other),
)
"""All eight; the first is none."""


@dataclass(frozen=True, slots=True)
class View:
    """A way of seeing a puzzle: number `symmetry` of DIHEDRAL, the colour that each of the ten becomes, and `order`, the seed of an order of the
    demonstrations (0: as they stand)."""

    symmetry: int = 0
    colours: tuple[int, ...] = COLOURS
    order: int = 0

    def apply(self, of: Grid) -> Grid:
        """The grid as it is seen."""
        return recoloured(DIHEDRAL[self.symmetry].apply(of), self.colours)

    def undo(self, of: Grid) -> Grid:
        """The grid that is seen so."""
        return DIHEDRAL[self.symmetry].undo(recoloured(of, inverse(self.colours)))

    def pair(self, of: Pair) -> Pair:
        """Both grids of a pair."""
        return Pair(self.apply(of.input), self.apply(of.output))

    def ordered(self, demonstrations: Sequence[T]) -> list[T]:
        """The demonstrations in this view's order."""
        return random.Random(self.order).sample(list(demonstrations), len(demonstrations)) if self.order else list(demonstrations)


def recoloured(of: Grid, colours: Sequence[int]) -> Grid:
    """Every cell as the colour that its own becomes."""
    return tuple(tuple(colours[cell] for cell in row) for row in of)


def inverse(colours: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    found = [0] * len(colours)
    for colour, becomes in enumerate(colours):
        found[becomes] = colour
    return tuple(found)


def permutation(rng: random.Random) -> tuple[int, ...]:
    """Colours 1 to 9 in a random order; 0, mostly the background, stays."""
    return (0, *rng.sample(COLOURS[1:], 9))


def views(number: int, symmetries: int, colours: bool, order: bool, seed: int) -> tuple[View, ...]:
    """At most `number` different views: the first `symmetries` of DIHEDRAL, then the same in turn with colours and orders permuted.

    Where neither is to be permuted, there are no more than `symmetries`.
    """
    rng, found = random.Random(seed), dict.fromkeys(View(symmetry) for symmetry in range(min(symmetries, number)))
    while (colours or order) and len(found) < number:
        found[View(len(found) % symmetries, permutation(rng) if colours else COLOURS, rng.randrange(1, 2**31) if order else 0)] = None
    return tuple(found)
