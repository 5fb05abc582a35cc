"""LoRA products of all adapters of a pass in one launch, whatever their numbers of rows: for GPUs, where a launch costs more than a small product.

Shapes as in `lora`: N flat tokens, i and o input and output size, R the widest rank, S adapters of a block with n rows in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from selfedit.engine.torch import hardware

Gradients = tuple[Tensor, Tensor]
"""Of one site: those of A (K, R, i) and of B (K, R, o) of all adapters of a bank."""

ALIGNED = 8
"""Ranks are padded to a multiple of this on a GPU, and only layers whose widths are multiples of it take the kernel: it reads 16 bytes at a time."""
MOST = 1023
"""Adapters that the kernel takes in one product."""


class OtherBlock(Protocol):
    """A block of the same rows, as in `lora`."""

    def forward(self, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
        """As in `lora.SingleBlock`."""
        ...

    def backward(self, dx: Tensor | None, dy: Tensor, x: Tensor, h: Tensor, down: Tensor, up: Tensor, scale: Tensor, into: Gradients) -> None:
        """As in `lora.SingleBlock`."""
        ...


@dataclass(slots=True)
class GroupedBlock:
    """Rows [start, end) of the flat batch, those of one adapter after another.

    `adapters` (S,) are their indices in the bank, `ends` (S,) where the rows of each end, `owner` (n,) is the index of each row's adapter. `other`
    takes the layers that the kernel does not: None where the model has none.
    """

    start: int
    end: int
    adapters: slice | Tensor
    ends: Tensor
    owner: Tensor
    fresh: bool = True
    other: OtherBlock | None = None
    _scales: Tensor | None = field(default=None, init=False, repr=False)

    def forward(self, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
        """As in `lora.SingleBlock`."""
        if self.other and not fits(down, up):
            return self.other.forward(y, x, down, up, scale)
        rows = slice(self.start, self.end)
        h = F.grouped_mm(x[rows], down[self.adapters].transpose(1, 2), offs=self.ends).mul_(self._scale(scale))
        y[rows].add_(F.grouped_mm(h, up[self.adapters], offs=self.ends))
        return h

    def backward(self, dx: Tensor | None, dy: Tensor, x: Tensor, h: Tensor, down: Tensor, up: Tensor, scale: Tensor, into: Gradients) -> None:
        """As in `lora.SingleBlock`."""
        if self.other and not fits(down, up):
            return self.other.backward(dx, dy, x, h, down, up, scale, into)
        rows = slice(self.start, self.end)
        dys = dy[rows]
        dh = F.grouped_mm(dys, up[self.adapters].transpose(1, 2), offs=self.ends).mul_(self._scale(scale))
        for grad, left, right in ((into[0], dh, x[rows]), (into[1], h, dys)):
            write(grad, self.adapters, F.grouped_mm(left.t(), right, offs=self.ends), self.fresh)  # (S, R, i or o)
        if dx is not None:
            dx[rows].add_(F.grouped_mm(dh, down[self.adapters], offs=self.ends))
        return None

    def _scale(self, scale: Tensor) -> Tensor:
        """(K, 1, 1) → (n, 1): of each row's adapter, gathered once for all layers, which have the same."""
        if self._scales is None:
            self._scales = scale[:, 0].index_select(0, self.owner)
        return self._scales


def fits(down: Tensor, up: Tensor) -> bool:
    """Whether the kernel takes a layer with down (K, R, i) and up (K, R, o)."""
    return down.shape[2] % ALIGNED == 0 and up.shape[2] % ALIGNED == 0


def write(grad: Tensor, adapters: slice | Tensor, found: Tensor, fresh: bool) -> None:
    """Put gradients `found` (S, R, ·) of some adapters into those of all (K, R, ·): in the place of what is there, or added to it."""
    if isinstance(adapters, slice):
        if fresh:
            grad[adapters].copy_(found)
        else:
            grad[adapters].add_(found)
    elif fresh:
        grad.index_copy_(0, adapters, found.to(grad.dtype))
    else:
        grad.index_add_(0, adapters, found.to(grad.dtype))


def run_of(adapters: Sequence[int], device: torch.device) -> slice | Tensor:
    """The indices of adapters: as a slice where each is one more than the last, so that taking them out of a bank copies nothing."""
    if list(adapters) == list(range(adapters[0], adapters[0] + len(adapters))):
        return slice(adapters[0], adapters[-1] + 1)
    return hardware.upload(torch.tensor(adapters), device)


def grouped(rows: Sequence[tuple[int, int]], start: int, device: torch.device, fresh: bool, other: OtherBlock | None = None) -> GroupedBlock:
    """The block of neighbouring runs of rows [(adapter's index in the bank, number of rows)], from row `start` on."""
    adapters, lengths = (torch.tensor(column) for column in zip(*rows, strict=True))
    owner, ends = (hardware.upload(z, device) for z in (adapters.repeat_interleave(lengths), lengths.cumsum(0).to(torch.int32)))
    return GroupedBlock(start, start + len(owner), run_of([k for k, _ in rows], device), ends, owner, fresh, other)
