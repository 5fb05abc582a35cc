"""Memory for the adapters in training: one row a slot, reused from job to job, so that nothing is allocated while training goes on.

Shapes: K slots, P parameters of a slot, R the widest rank, i and o input and output size of a site.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from selfedit.engine.torch.lora import Bank, Weights, widest
from selfedit.engine.torch.model import Base
from selfedit.types import LoraShape, Optimizer


class Arena:
    """Weights, gradients and both moments of AdamW as (K, P) tensors of at least fp32, and the weights again in the base's type."""

    def __init__(self, base: Base, slots: int, shapes: Sequence[LoraShape]) -> None:
        self.base, self.rank = base, widest((shape.rank for shape in shapes), base.device)
        self.targets = sorted({site for shape in shapes for site in base.targeted(shape)})
        size = sum(self.rank * (base.sites[i].in_features + base.sites[i].out_features) for i in self.targets)
        wide = torch.promote_types(base.dtype, torch.float32)
        self.master, self.gradient, self.moment1, self.moment2 = torch.zeros(4, slots, size, dtype=wide, device=base.device)
        self.shadow = self.master if wide == base.dtype else torch.zeros(slots, size, dtype=base.dtype, device=base.device)
        self.scale = torch.ones(slots, 1, 1, dtype=base.dtype, device=base.device)
        self.bank = Bank(*self.views(self.shadow), self.scale, *self.views(self.gradient))

    def views(self, rows: Tensor) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Cut rows (K, P) into down (K, R, i) and up (K, R, o) of every target; None elsewhere."""
        sites = self.base.sites
        down: list[Tensor | None] = [None] * len(sites)
        up: list[Tensor | None] = [None] * len(sites)
        at = 0
        for i in self.targets:
            for into, width in ((down, sites[i].in_features), (up, sites[i].out_features)):
                into[i] = rows[:, at : at + self.rank * width].view(-1, self.rank, width)
                at += self.rank * width
        return down, up


class Slot:
    """One row of the arena, with the job's own optimizer."""

    def __init__(self, arena: Arena, index: int) -> None:
        self.arena, self.index, self.used = arena, index, False
        self.master, self.gradient, self.shadow = arena.master[index], arena.gradient[index], arena.shadow[index]
        self.moment1, self.moment2 = arena.moment1[index], arena.moment2[index]

    def begin(self, shape: LoraShape, optimizer: Optimizer, generator: torch.Generator) -> None:
        """Initialise as PEFT does: A uniform in ±1/√i, B zero, drawn site by site from the job's own generator."""
        base = self.arena.base
        self.optimizer, self.updates = optimizer, torch.zeros((), dtype=torch.float32, device=base.device)
        if self.used:  # a new arena is all zeros
            for buffer in (self.master, self.gradient, self.moment1, self.moment2):
                buffer.zero_()
        self.used = True
        down, _ = self.arena.views(self.arena.master)
        for i in base.targeted(shape):
            bound = 1 / math.sqrt(base.sites[i].in_features)
            draw = torch.empty(shape.rank, base.sites[i].in_features).uniform_(-bound, bound, generator=generator)
            down[i][self.index, : shape.rank].copy_(draw)  # type: ignore[index]
        self.arena.scale[self.index] = shape.alpha / shape.rank
        self._refresh()

    def _refresh(self) -> None:
        if self.arena.shadow is not self.arena.master:
            self.shadow.copy_(self.master)

    def gradient_norm(self) -> Tensor:
        """L2 norm of the whole gradient, a scalar."""
        norm: Tensor = self.gradient.norm()
        return norm

    def step(self, lr: float, norm: float) -> None:
        """One step of AdamW (Loshchilov & Hutter 2019) in a single pass, the gradient clipped to `optimizer.clip` given its norm."""
        o = self.optimizer
        clip = min(1.0, o.clip / (norm + 1e-6)) if o.clip > 0 else 1.0
        adamw(
            [self.master], [self.gradient], [self.moment1], [self.moment2], [], [self.updates],
            fused=True,
            grad_scale=torch.tensor(1 / clip) if clip < 1.0 else None,
            amsgrad=False, beta1=o.beta1, beta2=o.beta2, lr=lr, weight_decay=o.weight_decay, eps=o.eps, maximize=False,
        )  # fmt: skip
        self._refresh()

    def finite(self) -> bool:
        """Whether every weight is a number, in the base's type too."""
        return bool(self.shadow.isfinite().all())

    def finished(self, shape: LoraShape) -> Weights:
        """A copy of the trained weights that outlives the slot, without the rank's padding."""
        down, up = self.arena.views(self.arena.shadow)
        targets = set(self.arena.base.targeted(shape))

        def own(stacked: list[Tensor | None]) -> list[Tensor | None]:
            return [z[self.index, : shape.rank].clone() if i in targets and z is not None else None for i, z in enumerate(stacked)]

        return Weights(own(down), own(up), shape.alpha / shape.rank)
