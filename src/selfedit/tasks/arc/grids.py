"""Grids of colours 0 to 9, pairs of them, and tasks; a grid as text is its digits, a row a line, so that every cell is one token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selfedit.errors import DataError

Grid = tuple[tuple[int, ...], ...]
"""Rows of colours, R × C, both from 1 to 30."""
LARGEST = 30
"""The most rows or columns that ARC allows."""
ARROW = "\n>\n"
"""Between the two grids of a pair."""
GAP = "\n\n"
"""After each pair."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A grid, and what the rule makes of it."""

    input: Grid
    output: Grid


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A rule: pairs that show it, and pairs that ask for it, whose outputs are the answers. `source` says where it was read."""

    id: str
    demonstrations: tuple[Pair, ...]
    queries: tuple[Pair, ...]
    source: str = ""


def grid(rows: Any, where: str = "grid") -> Grid:
    """A grid made of lists of numbers. Raises DataError, which says `where`, for what is none."""
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) for row in rows):
        raise DataError(f"{where} is no list of rows")
    found = tuple(tuple(row) for row in rows)
    widths = {len(row) for row in found}
    if len(widths) != 1 or not 1 <= len(found) <= LARGEST or not 1 <= max(widths) <= LARGEST:
        raise DataError(f"{where} is no grid of 1 to {LARGEST} rows of one length from 1 to {LARGEST}")
    if not all(type(cell) is int and 0 <= cell <= 9 for row in found for cell in row):
        raise DataError(f"{where} holds something else than the colours 0 to 9")
    return found


def digits(of: Grid) -> str:
    """The grid as text: `123\\n456`."""
    return "\n".join("".join(map(str, row)) for row in of)


def parse(text: str) -> Grid | None:
    """The grid that a text of digits is; None for any other text."""
    lines = text.strip().split("\n")
    width = len(lines[0])
    square = all(len(line) == width and line.isascii() and line.isdigit() for line in lines)
    if not square or not 0 < width <= LARGEST or len(lines) > LARGEST:
        return None
    return tuple(tuple(map(int, line)) for line in lines)


def shown(pairs: Sequence[Pair]) -> str:
    """Pairs as text, each input, arrow, output and an empty line: the context of a task."""
    return "".join(f"{digits(pair.input)}{ARROW}{digits(pair.output)}{GAP}" for pair in pairs)


def pairs_of(text: str) -> tuple[Pair, ...]:
    """The pairs of a text that `shown` wrote. Raises DataError for another text."""
    found = []
    for block in text.strip("\n").split(GAP):
        sides = [parse(side) for side in block.split(ARROW)]
        if len(sides) != 2 or sides[0] is None or sides[1] is None:
            raise DataError(f"not a pair of grids: {block[:60]!r}")
        found.append(Pair(sides[0], sides[1]))
    return tuple(found)


def cost(puzzle: Puzzle) -> int:
    """About how many tokens the puzzle takes with one of its queries: a token a cell, one at the end of each row, two more a grid."""
    pairs = (*puzzle.demonstrations, puzzle.queries[0])
    return sum(len(side) * (len(side[0]) + 1) + 1 for pair in pairs for side in (pair.input, pair.output))
