"""Where the matrices of an adapter stand in one flat row of numbers, so that a whole adapter is copied, compared or stacked as one tensor.

Shapes: K rows, P numbers of a row, R rank, i and o input and output size of a site (linear layer).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.grouped import ALIGNED


def widest(ranks: Iterable[int], device: torch.device) -> int:
    """The rank that matrices of adapters of these ranks have side by side."""
    rank = max(ranks)
    return -(-rank // ALIGNED) * ALIGNED if hardware.on_gpu(device) else rank


@dataclass(frozen=True, slots=True)
class Layout:
    """Of each site that an adapter has a part in A (R, i) and then Bᵀ (R, o), site by site; `widths` are (i, o), None where it has none."""

    rank: int
    widths: tuple[tuple[int, int] | None, ...]

    @property
    def size(self) -> int:
        """P."""
        return sum(self.rank * (into + out) for into, out in filter(None, self.widths))

    def views(self, rows: Tensor) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Rows (K, P) cut into down (K, R, i) and up (K, R, o) of every site; None where there is no part."""
        down: list[Tensor | None] = []
        up: list[Tensor | None] = []
        at = 0
        for width in self.widths:
            for into, size in zip((down, up), width or (0, 0), strict=True):
                into.append(rows[:, at : at + self.rank * size].view(-1, self.rank, size) if size else None)
                at += self.rank * size
        return down, up
