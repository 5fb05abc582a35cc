"""LoRA products of several adapters as one product with all of their matrices, and zeros where a row is another adapter's: for bf16 on a CPU.

Most of it is multiplied for nothing, and it is still faster: the processor multiplies a few dozen more columns in less time than it sorts rows by
adapter. Shapes as in `lora`: N flat tokens, i and o input and output size, R the widest rank, S adapters of a block with n rows in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.grouped import Gradients, run_of, write

WIDEST = 128
"""S · R of a block. On layers of 576 by 192 to 576 by 1536 with 480 rows, 32 takes 30 % less time than sorted rows with the frozen product, 128 takes
20 % less, 256 takes 2 to 8 % less."""


@dataclass(slots=True)
class StackedBlock:
    """Rows [start, end) of the flat batch, those of one adapter after another.

    `adapters` (S,) are their indices in the bank, `owner` (n,) says of each row which of these it belongs to. A gradient that is not finite
    spoils those of all adapters of the block. Weights have to be finite.
    """

    start: int
    end: int
    adapters: slice | Tensor
    owner: Tensor
    fresh: bool = True
    _own: Tensor | None = field(default=None, init=False, repr=False)

    def forward(self, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
        """As in `lora.SingleBlock`; keeps (n, S · R)."""
        rows, mask = slice(self.start, self.end), self._mask(down, scale)
        if down.stride(0) == 0:  # one A for all
            h = torch.mm(x[rows], down[0].t()).repeat(1, mask.shape[1] // down.shape[1]).mul_(mask)
        else:
            h = torch.mm(x[rows], down[self.adapters].flatten(0, 1).t()).mul_(mask)
        y[rows].addmm_(h, up[self.adapters].flatten(0, 1))
        return h

    def backward(self, dx: Tensor | None, dy: Tensor, x: Tensor, h: Tensor, down: Tensor, up: Tensor, scale: Tensor, into: Gradients) -> None:
        """As in `lora.SingleBlock`."""
        rows = slice(self.start, self.end)
        dh = torch.mm(dy[rows], up[self.adapters].flatten(0, 1).t()).mul_(self._mask(down, scale))
        for grad, left, right in ((into[0], dh, x[rows]), (into[1], h, dy[rows])):
            write(grad, self.adapters, torch.mm(left.t(), right).view(-1, down.shape[1], right.shape[1]), self.fresh)
        if dx is not None:
            dx[rows].addmm_(dh, down[self.adapters].flatten(0, 1))

    def _mask(self, down: Tensor, scale: Tensor) -> Tensor:
        """(n, S · R): the scale of an adapter in its own rows and columns, else zero. Made once for all layers."""
        if self._own is None:
            scales = scale[self.adapters].flatten()
            own = torch.diag(scales).repeat_interleave(down.shape[1], dim=1)  # (S, S · R)
            self._own = own.index_select(0, self.owner)
        return self._own


def most(rank: int, like: Tensor) -> int:
    """Adapters of this rank that a block takes; 1 where blocks of this kind are not faster."""
    return max(1, WIDEST // rank) if rank and like.dtype == torch.bfloat16 and not hardware.on_gpu(like.device) else 1


def stack(rows: Sequence[tuple[int, int]], start: int, device: torch.device, fresh: bool) -> StackedBlock:
    """The block of neighbouring runs of rows [(adapter's index in the bank, number of rows)], from row `start` on."""
    owner = torch.arange(len(rows)).repeat_interleave(torch.tensor([n for _, n in rows]))
    return StackedBlock(start, start + len(owner), run_of([k for k, _ in rows], device), owner, fresh)
