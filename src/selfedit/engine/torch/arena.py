"""Memory for the adapters in training: one row a slot, reused from job to job, so that nothing is allocated while training goes on.

Shapes: K slots, P parameters of a slot, R the widest rank, i and o input and output size of a site.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from selfedit.engine.torch import hardware
from selfedit.engine.torch.bank import Bank, Weights
from selfedit.engine.torch.layout import Layout, widest
from selfedit.engine.torch.model import Base
from selfedit.types import LoraShape, Optimizer


class Arena:
    """Weights, gradients and both moments of AdamW as (K, P) tensors of at least fp32, and the weights again in the base's type."""

    def __init__(self, base: Base, slots: int, shapes: Sequence[LoraShape] = (), layout: Layout | None = None) -> None:
        """Every row has this `layout`, or else one that adapters of all `shapes` fit into."""
        self.base = base
        targets = {site for shape in shapes for site in base.targeted(shape)}
        self.layout = layout or layout_of(base, targets, widest((shape.rank for shape in shapes), base.device))
        wide = torch.promote_types(base.dtype, torch.float32)
        self.master, self.gradient, self.moment1, self.moment2 = torch.zeros(4, slots, self.layout.size, dtype=wide, device=base.device)
        self.shadow = self.master if wide == base.dtype else torch.zeros(slots, self.layout.size, dtype=base.dtype, device=base.device)
        self.scale = torch.ones(slots, 1, 1, dtype=base.dtype, device=base.device)
        self.bank = Bank(*self.layout.views(self.shadow), self.scale, *self.layout.views(self.gradient))
        self.written: set[int] = set()
        """Slots whose gradient of the running step has begun: the next pass adds to it, the first one overwrites what was there."""
        self.passes: dict[Hashable, Any] = {}
        """Passes that can be repeated, `train_static.StaticPass`, by their size."""
        self.memory = hardware.graph_memory(base.device)
        """What recorded ones share."""

    def beside(self) -> Arena:
        """The same adapters with gradients of their own, so that another thread can add up its part of a step."""
        other = copy.copy(self)
        other.gradient, other.written, other.passes = torch.zeros_like(self.gradient), set(), {}
        other.bank = Bank(self.bank.down, self.bank.up, self.scale, *self.layout.views(other.gradient))
        return other

    def add_gradients(self, other: Arena) -> None:
        """Take over what an arena beside this one has of the running step."""
        for index in sorted(other.written):
            if index in self.written:
                self.gradient[index].add_(other.gradient[index])
            else:
                self.gradient[index].copy_(other.gradient[index])
        self.written |= other.written

    def step_together(self, slots: Sequence[Slot], rates: Sequence[float]) -> Tensor:
        """A step of AdamW of these slots with few launches and without waiting: each gradient's norm (S,), by which it is clipped on the device.

        A gradient that is not finite spoils the weights of its own slot alone.
        """
        own = hardware.upload(torch.tensor([slot.index for slot in slots], dtype=torch.long), self.gradient.device)
        norms: Tensor = torch.linalg.vector_norm(self.gradient, dim=1)
        if any(slot.optimizer.clip > 0 for slot in slots):
            clips = {slot.index: slot.optimizer.clip for slot in slots if slot.optimizer.clip > 0}
            limits = torch.tensor([clips.get(index, math.inf) for index in range(len(self.gradient))], dtype=norms.dtype)
            self.gradient.mul_((hardware.upload(limits, norms.device) / (norms + 1e-6)).clamp_(max=1.0)[:, None])
        by_setting = sorted(zip(slots, rates, strict=True), key=lambda one: _moments(one[0].optimizer))
        for _, alike in groupby(by_setting, key=lambda one: _moments(one[0].optimizer)):
            self._step_alike(list(alike))
        if self.shadow is not self.master:
            self.shadow.copy_(self.master)
        return norms.index_select(0, own)

    def _step_alike(self, slots: Sequence[tuple[Slot, float]]) -> None:
        """One step of AdamW for slots that differ only in their rates.

        A step is proportional to the rate. So it is made for all at rate 1, and each slot goes its rate's share of the way.
        """
        some, rates = [slot for slot, _ in slots], {slot.index: rate for slot, rate in slots}
        if len(set(rates.values())) == 1:
            return _adamw(some, slots[0][1])
        before = self.master.clone()
        _adamw(some, 1.0)
        each = torch.tensor([[rates.get(index, 0.0)] for index in range(len(before))], dtype=before.dtype)
        torch.lerp(before, self.master, hardware.upload(each, before.device), out=self.master)
        return None


def _moments(o: Optimizer) -> tuple[float, ...]:
    """The settings that all slots of a call of AdamW share."""
    return o.beta1, o.beta2, o.eps, o.weight_decay


def layout_of(base: Base, targets: set[int], rank: int) -> Layout:
    """Of adapters of this rank on these sites of a base."""
    return Layout(rank, tuple((s.in_features, s.out_features) if i in targets else None for i, s in enumerate(base.sites)))


def _adamw(slots: Sequence[Slot], lr: float, grad_scale: Tensor | None = None) -> None:
    """One step of AdamW (Loshchilov & Hutter 2019) of slots with the same settings, in a single pass over memory."""
    o = slots[0].optimizer
    master, gradient, moment1, moment2, updates = zip(*((s.master, s.gradient, s.moment1, s.moment2, s.updates) for s in slots), strict=True)
    adamw(
        list(master), list(gradient), list(moment1), list(moment2), [], list(updates),
        fused=True, grad_scale=grad_scale,
        amsgrad=False, beta1=o.beta1, beta2=o.beta2, lr=lr, weight_decay=o.weight_decay, eps=o.eps, maximize=False,
    )  # fmt: skip


class Slot:
    """One row of the arena, with the job's own optimizer."""

    def __init__(self, arena: Arena, index: int) -> None:
        self.arena, self.index, self.used = arena, index, False
        self.master, self.gradient, self.shadow = arena.master[index], arena.gradient[index], arena.shadow[index]
        self.moment1, self.moment2 = arena.moment1[index], arena.moment2[index]

    def begin(self, shape: LoraShape, optimizer: Optimizer, generator: torch.Generator, start: Tensor | None = None) -> None:
        """Initialise as PEFT does: A uniform in ±1/√i, B zero, drawn from the job's own generator; or as `start` (P,) says."""
        device = self.arena.base.device
        self.optimizer, self.updates = optimizer, torch.zeros((), dtype=torch.float32, device=device)
        if self.used:  # a new arena is all zeros
            for buffer in (self.master, self.gradient, self.moment1, self.moment2):
                buffer.zero_()
        self.used = True
        self.arena.written.discard(self.index)
        if start is not None:
            self.master.copy_(start, non_blocking=True)
        else:
            draw(self.arena, shape, generator, self.master)
        self.arena.scale[self.index].fill_(shape.alpha / shape.rank)
        self._refresh()

    def _refresh(self) -> None:
        if self.arena.shadow is not self.arena.master:
            self.shadow.copy_(self.master)

    def gradient_norm(self) -> Tensor:
        """L2 norm of the whole gradient, a scalar."""
        norm: Tensor = self.gradient.norm()
        return norm

    def step(self, lr: float, norm: float) -> None:
        """One step of AdamW, the gradient clipped to `optimizer.clip` given its norm."""
        clip = min(1.0, self.optimizer.clip / (norm + 1e-6)) if self.optimizer.clip > 0 else 1.0
        _adamw([self], lr, torch.tensor(1 / clip) if clip < 1.0 else None)
        self._refresh()

    def finite(self) -> Tensor:
        """Whether every weight is a number, in the base's type too: a scalar."""
        return self.shadow.isfinite().all()

    def finished(self, shape: LoraShape) -> Weights:
        """A copy of the trained weights that outlives the slot, without the rank's padding."""
        base = self.arena.base
        layout = layout_of(base, set(base.targeted(shape)), widest([shape.rank], base.device))
        own = Weights.of(self.shadow, self.arena.layout, shape.rank, shape.alpha / shape.rank)
        row = self.shadow.clone() if layout == self.arena.layout else own.placed(layout, self.shadow)
        return Weights.of(row, layout, shape.rank, own.scale)


def draw(arena: Arena, shape: LoraShape, generator: torch.Generator, into: Tensor) -> None:
    """The random start of an adapter, site by site from its own generator, into its row (P,), which is zero."""
    down, _ = arena.layout.views(into[None])
    for i in arena.base.targeted(shape):
        width = arena.base.sites[i].in_features
        bound = 1 / math.sqrt(width)
        down[i][0, : shape.rank].copy_(torch.empty(shape.rank, width).uniform_(-bound, bound, generator=generator))  # type: ignore[index]
