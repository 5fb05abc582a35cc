"""The matrices of adapters: of one, and of many side by side.

Shapes: P numbers of an adapter, r its rank, i and o a layer's input and output size, K adapters in a bank, R the widest rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.layout import Layout, widest


@dataclass(frozen=True, slots=True)
class Weights:
    """One adapter's matrices, a list entry for each site (linear layer), None where the adapter has no part.

    `down` (r, i) is LoRA's A; `up` (r, o) is B transposed, so that both are cut by rows of the rank.
    """

    down: list[Tensor | None]
    up: list[Tensor | None]
    scale: float
    flat: tuple[Tensor, Layout] | None = None
    """One row (P,) that all matrices are views of, where there is one."""

    @classmethod
    def of(cls, row: Tensor, layout: Layout, rank: int, scale: float) -> Weights:
        """Views of a row (P,), whose layout may have a wider rank."""
        down, up = ([None if z is None else z[0, :rank] for z in side] for side in layout.views(row[None]))
        return cls(down, up, scale, (row, layout))

    def zeros(self) -> Weights:
        """An adapter of the same shape that changes nothing."""
        down, up = ([None if z is None else torch.zeros_like(z) for z in side] for side in (self.down, self.up))
        return Weights(down, up, self.scale, self.flat and (torch.zeros_like(self.flat[0]), self.flat[1]))

    @property
    def sites(self) -> set[int]:
        """Indices of the sites that it has a part in."""
        return {i for i, down in enumerate(self.down) if down is not None}

    @property
    def rank(self) -> int:
        """r."""
        return next(len(down) for down in self.down if down is not None)

    def placed(self, layout: Layout, like: Tensor) -> Tensor:
        """Its numbers in a row (P,) of a layout of at least its rank and its sites, zero where it has none; `like` gives type and device."""
        row = like.new_zeros(layout.size)
        for whole, own in zip(layout.views(row[None]), (self.down, self.up), strict=True):
            for into, part in zip(whole, own, strict=True):
                if into is not None and part is not None:
                    into[0, : len(part)].copy_(part)
        return row


def summed(parts: Sequence[Weights]) -> Weights:
    """One adapter whose update is the sum of these: their ranks side by side, with zeros for one that has no part in a site that another has.

    Nothing is rounded where scales differ by powers of two.
    """
    scale, ranks = parts[0].scale or 1.0, [w.rank for w in parts]

    def together(matrices: Sequence[Tensor | None], factors: Sequence[float]) -> Tensor | None:
        like = next((z for z in matrices if z is not None), None)
        if like is None:
            return None
        zeros = [like.new_zeros(rank, like.shape[1]) for rank in ranks]
        return torch.cat([none if z is None else z * factor for z, none, factor in zip(matrices, zeros, factors, strict=True)])

    down = [together(own, [1.0] * len(parts)) for own in zip(*(w.down for w in parts), strict=True)]
    up = [together(own, [w.scale / scale for w in parts]) for own in zip(*(w.up for w in parts), strict=True)]
    return Weights(down, up, scale)


@dataclass(slots=True)
class Bank:
    """The matrices of K adapters stacked for each site: `down` (K, R, i), `up` (K, R, o), None where no adapter has a part; `scale` (K, 1, 1).

    Where all have the very same A, as edit vectors do, it stands there once: a stride of 0 between the K.

    An adapter of a lower rank, or without a part in a site, has zeros there: its update and its gradients are exactly zero. Gradients,
    usually of a wider type, are written by the backward pass.
    """

    down: list[Tensor | None]
    up: list[Tensor | None]
    scale: Tensor
    down_grad: list[Tensor | None] = field(default_factory=list)
    up_grad: list[Tensor | None] = field(default_factory=list)

    @property
    def rank(self) -> int:
        """R."""
        return next(down.shape[1] for down in self.down if down is not None)

    @classmethod
    def of(cls, adapters: Sequence[Weights]) -> Bank:
        """Finished adapters side by side, for passes without gradient. Those that are one row each, all alike, are copied at once."""
        scale = next(d for w in adapters for d in w.down if d is not None).new_tensor([w.scale for w in adapters])[:, None, None]
        flat = [w.flat for w in adapters if w.flat]
        if len(flat) == len(adapters) and len({layout for _, layout in flat}) == 1:
            return cls(*flat[0][1].views(torch.stack([row for row, _ in flat])), scale)
        return cls(*cls._side_by_side(adapters), scale)

    @staticmethod
    def _side_by_side(adapters: Sequence[Weights]) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Down (K, R, i) and up (K, R, o) of adapters of any ranks and sites."""
        down: list[Tensor | None] = []
        up: list[Tensor | None] = []
        device = next(d.device for w in adapters for d in w.down if d is not None)
        rank = widest((w.rank for w in adapters), device)
        for site in range(len(adapters[0].down)):
            for stacked, parts in ((down, [w.down[site] for w in adapters]), (up, [w.up[site] for w in adapters])):
                like = next((p for p in parts if p is not None), None)
                if like is None:
                    stacked.append(None)
                    continue
                whole_parts = [p for p in parts if p is not None and len(p) == rank]
                if len(whole_parts) == len(parts):
                    same = all(p is like for p in parts) and not hardware.on_gpu(device)  # a kernel of GPUs wants them side by side
                    stacked.append(like.expand(len(parts), -1, -1) if same else torch.stack(whole_parts))
                    continue
                whole = like.new_zeros(len(parts), rank, like.shape[1])
                for k, part in enumerate(parts):
                    if part is not None:
                        whole[k, : part.shape[0]] = part
                stacked.append(whole)
        return down, up
