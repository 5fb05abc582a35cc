"""The transformations of whole puzzles that SEAL's self-edits choose from: 23 in four groups (its repository, few-shot/arclib/augmenters).

Each can be undone exactly. Where a puzzle would grow beyond 30 rows or columns, a transformation is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from selfedit.tasks.arc.grids import LARGEST, Grid, Pair
from selfedit.tasks.arc.views import DIHEDRAL, flip_columns, flip_rows, transpose, turn, turn_back, turn_half

Change = Callable[[Grid, int], Grid]
"""What a transformation makes of a grid; the number is what is left to chance, the same for all grids of a puzzle."""


@dataclass(frozen=True, slots=True)
class Augmenter:
    """A transformation with its exact inverse."""

    name: str
    apply: Change
    undo: Change

    def pair(self, of: Pair, chance: int = 0) -> Pair | None:
        """Both grids of a pair; None where one would be larger than ARC allows."""
        found = Pair(self.apply(of.input, chance), self.apply(of.output, chance))
        return found if max(map(_side, (found.input, found.output))) <= LARGEST else None


def _side(of: Grid) -> int:
    return max(len(of), len(of[0]))


def _always(name: str, apply: Callable[[Grid], Grid], undo: Callable[[Grid], Grid]) -> Augmenter:
    return Augmenter(name, lambda of, _: apply(of), lambda of, _: undo(of))


# ---------------------------------------------------------------- larger grids


def stretched(of: Grid, rows: int, columns: int) -> Grid:
    """Every row so many times, every cell so many times."""
    return tuple(tuple(cell for cell in row for _ in range(columns)) for row in of for _ in range(rows))


def shrunk(of: Grid, rows: int, columns: int) -> Grid:
    """One of so many rows, one of so many cells."""
    return tuple(row[::columns] for row in of[::rows])


def tiled(of: Grid, rows: int, columns: int) -> Grid:
    """The whole grid so many times below and beside itself."""
    return tuple(row * columns for row in of) * rows


def first_tile(of: Grid, rows: int, columns: int) -> Grid:
    """The grid of which others are repetitions."""
    return tuple(row[: len(row) // columns] for row in of[: len(of) // rows])


def _reflected(name: str, rows: bool, forward: bool) -> Augmenter:
    """The grid beside its mirror image, the image after it (`forward`) or before it."""

    def below(of: Grid) -> Grid:
        return of + of[::-1] if forward else of[::-1] + of

    def half(of: Grid) -> Grid:
        return of[: len(of) // 2] if forward else of[len(of) // 2 :]

    if rows:
        return _always(name, below, half)
    return _always(name, lambda of: transpose(below(transpose(of))), lambda of: transpose(half(transpose(of))))


# ---------------------------------------------------------------- rolled


def _rolled(of: Grid, chance: int, back: bool) -> Grid:
    """Moved round the edge by one to three places, along rows or columns as the chance says."""
    places, along_rows = 1 + chance % 3, chance // 3 % 2 == 0
    lines = of if along_rows else transpose(of)
    by = places % len(lines)
    by = by if back else -by
    moved = lines[by:] + lines[:by]
    return moved if along_rows else transpose(moved)


# ---------------------------------------------------------------- all of them

_RIGID = {"turned left": (turn, turn_back), "turned right": (turn_back, turn), "turned by half": (turn_half, turn_half)}
_FLIPS = {"rows flipped": (flip_rows, flip_rows), "columns flipped": (flip_columns, flip_columns)}
_TRANSPOSED = {"transposed": (transpose, transpose)}


def _chained(name: str, apply: Callable[[Grid], Grid], undo: Callable[[Grid], Grid]) -> Augmenter:
    return _always(f"{name}, twice as large", lambda of: stretched(apply(of), 2, 2), lambda of: undo(shrunk(of, 2, 2)))


def _scaled(name: str, rows: int, columns: int) -> Augmenter:
    return _always(name, lambda of: stretched(of, rows, columns), lambda of: shrunk(of, rows, columns))


def _repeated(name: str, rows: int, columns: int) -> Augmenter:
    return _always(name, lambda of: tiled(of, rows, columns), lambda of: first_tile(of, rows, columns))


GROUPS: dict[str, tuple[Augmenter, ...]] = {
    "dihedral": tuple(_always(one.name, one.apply, one.undo) for one in DIHEDRAL[1:]),
    "basic": (
        *(_always(name, *both) for name, both in (_RIGID | _FLIPS | _TRANSPOSED).items()),
        _reflected("rows, then mirrored", rows=True, forward=True),
        _reflected("mirrored, then rows", rows=True, forward=False),
        _reflected("columns, then mirrored", rows=False, forward=True),
        _reflected("mirrored, then columns", rows=False, forward=False),
        Augmenter("rolled", lambda of, chance: _rolled(of, chance, back=False), lambda of, chance: _rolled(of, chance, back=True)),
    ),
    "size": (_scaled("twice as large", 2, 2), _scaled("twice as high", 2, 1), _scaled("twice as wide", 1, 2)),
    "chain": tuple(_chained(name, *both) for name, both in (_RIGID | _FLIPS | _TRANSPOSED).items()),
    "repeat": (_repeated("repeated below", 2, 1), _repeated("repeated beside", 1, 2), _repeated("repeated both ways", 2, 2)),
}
"""The transformations of each switch of a self-edit."""
