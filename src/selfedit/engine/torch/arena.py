"""Memory for the adapters in training: one row a slot, reused from job to job, so that nothing is allocated while training goes on.

Shapes: P parameters of the widest adapter, r rank, i and o input and output size of a site.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from selfedit.engine.torch.base import Base, Site
from selfedit.engine.torch.lora import Weights
from selfedit.types import LoraShape, Optimizer


def parameters(sites: Sequence[Site], targets: Sequence[int], rank: int) -> int:
    """P: parameters of an adapter."""
    return sum(rank * (sites[i].in_features + sites[i].out_features) for i in targets)


def views(row: Tensor, sites: Sequence[Site], targets: Sequence[int], rank: int) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Cut a row (P,) into down (r, i) and up (r, o) of every target; None elsewhere."""
    down: list[Tensor | None] = [None] * len(sites)
    up: list[Tensor | None] = [None] * len(sites)
    at = 0
    for i in targets:
        for into, width in ((down, sites[i].in_features), (up, sites[i].out_features)):
            into[i] = row[at : at + rank * width].view(rank, width)
            at += rank * width
    return down, up


class Slot:
    """Room for one adapter in training: weights, gradient and both moments of AdamW, and the copy in the base's type that the products read."""

    def __init__(self, capacity: int, base: Base) -> None:
        wide = torch.promote_types(base.dtype, torch.float32)
        self.master, self.gradient, self.moment1, self.moment2 = torch.zeros(4, capacity, dtype=wide, device=base.device)
        self.shadow = self.master if wide == base.dtype else torch.zeros(capacity, dtype=base.dtype, device=base.device)
        self.base = base
        self.size = 0

    def begin(self, shape: LoraShape, optimizer: Optimizer, generator: torch.Generator) -> Weights:
        """Initialise as PEFT does: A uniform in ±1/√i, B zero, drawn site by site from the job's own generator."""
        sites, targets = self.base.sites, self.base.targeted(shape)
        self.size = parameters(sites, targets, shape.rank)
        self.optimizer, self.updates = optimizer, torch.zeros((), dtype=torch.float32)
        for buffer in (self.master, self.gradient, self.moment1, self.moment2):
            buffer.zero_()
        down, _ = views(self.master, sites, targets, shape.rank)
        for i in targets:
            bound = 1 / math.sqrt(sites[i].in_features)
            draw = torch.rand(shape.rank, sites[i].in_features, generator=generator, dtype=torch.float32)
            down[i].copy_(draw * (2 * bound) - bound)  # type: ignore[union-attr]
        self._refresh()
        self.weights = Weights(
            *views(self.shadow, sites, targets, shape.rank), shape.alpha / shape.rank, *views(self.gradient, sites, targets, shape.rank)
        )
        return self.weights

    def _refresh(self) -> None:
        if self.shadow is not self.master:
            self.shadow[: self.size].copy_(self.master[: self.size])

    def gradient_norm(self) -> float:
        """L2 norm of the whole gradient."""
        return float(self.gradient[: self.size].norm())

    def step(self, lr: float, norm: float) -> None:
        """One step of AdamW (Loshchilov & Hutter 2019) in a single pass, the gradient clipped to `optimizer.clip` given its norm."""
        o, size = self.optimizer, self.size
        clip = min(1.0, o.clip / (norm + 1e-6)) if o.clip > 0 else 1.0
        master, gradient, moment1, moment2 = ([buffer[:size]] for buffer in (self.master, self.gradient, self.moment1, self.moment2))
        adamw(
            master, gradient, moment1, moment2, [], [self.updates],
            fused=True,
            grad_scale=torch.tensor(1 / clip) if clip < 1.0 else None,
            amsgrad=False, beta1=o.beta1, beta2=o.beta2, lr=lr, weight_decay=o.weight_decay, eps=o.eps, maximize=False,
        )  # fmt: skip
        self._refresh()

    def finished(self, shape: LoraShape) -> Weights:
        """A copy of the trained weights that outlives the slot."""
        return Weights(*views(self.shadow[: self.size].clone(), self.base.sites, self.base.targeted(shape), shape.rank), shape.alpha / shape.rank)
