"""LoRA products of all adapters of a pass in one launch, whatever their numbers of rows: for GPUs, where a launch costs more than a small product.

Shapes as in `lora`: N flat tokens, i and o input and output size, R the widest rank, S adapters of a block with n rows in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Gradients = tuple[Tensor, Tensor]
"""Of one site: those of A (K, R, i) and of B (K, R, o) of all adapters of a bank."""

ALIGNED = 8
"""Ranks are padded to a multiple of this on a GPU: the kernel reads 16 bytes at a time."""


@dataclass(frozen=True, slots=True)
class GroupedBlock:
    """Rows [start, end) of the flat batch, those of one adapter after another.

    `adapters` (S,) are their indices in the bank, `ends` (S,) where the rows of each end, `owner` (n,) is the index of each row's adapter.
    """

    start: int
    end: int
    adapters: Tensor
    ends: Tensor
    owner: Tensor
    fresh: bool = True

    def forward(self, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
        """As in `lora.SingleBlock`."""
        rows = slice(self.start, self.end)
        h = F.grouped_mm(x[rows], down[self.adapters].transpose(1, 2), offs=self.ends) * scale[self.owner, 0]
        y[rows] += F.grouped_mm(h, up[self.adapters], offs=self.ends)
        return h

    def backward(self, dx: Tensor | None, dy: Tensor, x: Tensor, h: Tensor, down: Tensor, up: Tensor, scale: Tensor, into: Gradients) -> None:
        """As in `lora.SingleBlock`."""
        rows = slice(self.start, self.end)
        dys = dy[rows]
        dh = F.grouped_mm(dys, up[self.adapters].transpose(1, 2), offs=self.ends) * scale[self.owner, 0]
        for grad, left, right in ((into[0], dh, x[rows]), (into[1], h, dys)):
            found = F.grouped_mm(left.t(), right, offs=self.ends).to(grad.dtype)  # (S, R, i or o)
            if self.fresh:
                grad[self.adapters] = found
            else:
                grad.index_add_(0, self.adapters, found)
        if dx is not None:
            dx[rows] += F.grouped_mm(dh, down[self.adapters], offs=self.ends)


def grouped(rows: Sequence[tuple[int, int]], start: int, device: torch.device, fresh: bool) -> GroupedBlock:
    """The block of neighbouring runs of rows [(adapter's index in the bank, number of rows)], from row `start` on."""
    adapters, lengths = (torch.tensor(column, device=device) for column in zip(*rows, strict=True))
    total = sum(n for _, n in rows)
    owner = adapters.repeat_interleave(lengths, output_size=total)  # given the size, nobody waits for the device
    return GroupedBlock(start, start + total, adapters, lengths.cumsum(0).to(torch.int32), owner, fresh)


def fits(like: Tensor) -> bool:
    """Whether the device has the kernel: bf16 on compute capability 9.0 (Hopper) and above."""
    return like.device.type == "cuda" and like.dtype == torch.bfloat16 and torch.cuda.get_device_capability(like.device) >= (9, 0)
