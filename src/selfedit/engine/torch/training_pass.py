"""One forward and backward pass of training over some sequences of many jobs. What it comes to stays on the device until the step is read.

Shapes: N flat tokens, M learned tokens, d hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import EllipsisType
from typing import Literal

import torch
from torch import Tensor

from selfedit.engine.losses import LOSSES, options_of
from selfedit.engine.torch import hardware
from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.branches import Tree
from selfedit.engine.torch.budget import Budget, empty_cache
from selfedit.engine.torch.cross_entropy import lost, owned_loss
from selfedit.engine.torch.distillation import LinearDistillation, Teacher
from selfedit.engine.torch.jobs import Part, Running
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.policy_losses import FUNCTIONS, LinearLogprobs, policy_loss
from selfedit.engine.torch.train_static import SIZES, Filled, StaticPass, filled

SAMPLED = 61
"""A recording is proven on every 61st number of the gradients."""
ROUNDING = 0.05
"""Of the norm of these: how far a recording may be from the pass itself, which in bfloat16 adds in another order."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a pass came to for each part, a job with the number of its step, and their `sizes` in tokens.

    `numbers` are the loss of each part, then the metrics, each with its part and its name in `metrics`.
    """

    parts: Sequence[tuple[Running, int]]
    sizes: Sequence[int]
    numbers: Tensor
    metrics: Sequence[tuple[int, str]]

    def record(self, numbers: Sequence[float]) -> None:
        """Hand the numbers, read from the device, to the jobs."""
        named: list[dict[str, float]] = [{} for _ in self.parts]
        for (index, name), number in zip(self.metrics, numbers[len(self.parts) :], strict=True):
            named[index][name] = number
        for (r, step), size, loss, metrics in zip(self.parts, self.sizes, numbers[: len(self.parts)], named, strict=True):
            r.record(step, size, loss, metrics)


def accumulate_gradients(arena: Arena, parts: Sequence[Part], budget: Budget, apart: bool = False) -> list[Found]:
    """A forward and a backward pass that adds to the gradients of its jobs. One that finds no memory is done again in halves.

    A job one of whose sequences finds none alone has failed. `apart`: no job's numbers touch another's, not even as zeros.
    """
    on_gpu = hardware.on_gpu(arena.base.device)
    if on_gpu:  # there the order is free, and the adapters of neighbouring slots are a slice of the bank
        parts = sorted(parts, key=lambda part: part[0].slot.index)
    before = {r.slot.index: r.slot.gradient.clone() for r, _ in parts if r.slot.index in arena.written} if on_gpu else {}
    static = None if apart else _static(arena, parts)
    try:
        found = _repeated(arena, static, parts, before) if static else _pass(arena, parts, 0 if apart else arena.layout.rank)
    except RuntimeError as error:
        if not (static or isinstance(error, torch.OutOfMemoryError)):
            raise
        reason = str(error) or type(error).__name__
        for index, gradient in before.items():
            arena.gradient[index].copy_(gradient)
    else:
        arena.written.update(r.slot.index for r, _ in parts)
        return [found]
    before.clear()  # and what follows is not in the clause above, which holds on to what the pass had made
    if not static:
        return _in_halves(arena, parts, budget)
    arena.passes.clear()
    empty_cache()
    arena.base.training_graphs.fail(reason)
    return accumulate_gradients(arena, parts, budget, apart)


def _static(arena: Arena, parts: Sequence[Part]) -> Filled | None:
    """The pass filled up to a size that can be repeated, where this is wanted and the pass is one for it."""
    if not arena.base.training_graphs.active or set(_ways(parts, _counts(parts))) - {"cross-entropy"} or _tree(parts).branched:
        return None
    whole = filled(arena, parts)
    return whole if whole and (whole.size in arena.passes or len(arena.passes) < SIZES) else None


def _repeated(arena: Arena, whole: Filled, parts: Sequence[Part], before: Mapping[int, Tensor]) -> Found:
    """Does what `_pass` does, with shapes that can be repeated. The first recording of a base is compared with `_pass`.

    The pass adds to gradients, so those of slots that begin a step are set to zero before.

    `before` are gradients that had begun, by slot. Raises RuntimeError where the recording does something else.
    """
    base, device = arena.base, arena.base.device
    if whole.size not in arena.passes:
        arena.passes[whole.size] = StaticPass(whole, arena.gradient)
    known, wanted = arena.passes[whole.size], None
    if known.worth_recording and not base.recording_proven:
        _pass(arena, parts, arena.layout.rank)
        wanted = arena.gradient[:, ::SAMPLED].clone()
        for index, gradient in before.items():
            arena.gradient[index].copy_(gradient)
    fresh = [r.slot.index for r, _ in parts if r.slot.index not in arena.written]
    arena.gradient.index_fill_(0, hardware.upload(torch.tensor(fresh, dtype=torch.long), device), 0.0)
    losses = known.run(arena, whole)
    if wanted is not None:
        _compare(arena.gradient[:, ::SAMPLED], wanted)
        base.recording_proven = True
    return Found([(r, r.step) for r, _ in whole.parts], sizes(whole.parts), losses, [])


def _compare(found: Tensor, wanted: Tensor) -> None:
    """Raises RuntimeError unless gradients are the wanted ones to rounding, wherever those are finite: a job may diverge."""
    there = wanted.isfinite()
    off = float(torch.linalg.vector_norm((found - wanted)[there]) / torch.linalg.vector_norm(wanted[there]).clamp_min(1e-30))
    if not off <= ROUNDING:
        raise RuntimeError(f"gradients of a recorded pass are {off:.2g} of their norm away from those of the pass itself")


def _in_halves(arena: Arena, parts: Sequence[Part], budget: Budget) -> list[Found]:
    """A pass that found no memory, done again as two."""
    empty_cache()
    units = [(r, unit) for r, here in parts for unit in r.units() if set(unit) <= set(here)]
    ends = list(accumulate(sizes(units)))
    if len(units) == 1:
        units[0][0].failure = f"{ends[-1]} tokens that train together do not fit into the memory of the device: use shorter passages"
        return []
    budget.halve(ends[-1])
    first = next((i for i, end in enumerate(ends[:-1], start=1) if 2 * end >= ends[-1]), len(units) - 1)
    return [found for half in (units[:first], units[first:]) for found in accumulate_gradients(arena, joined(half), budget)]


def joined(units: Sequence[Part]) -> list[Part]:
    """Neighbouring units of a job as one part."""
    parts: list[Part] = []
    for r, unit in units:
        if parts and parts[-1][0] is r:
            parts[-1][1].extend(unit)
        else:
            parts.append((r, list(unit)))
    return parts


def sizes(parts: Sequence[Part]) -> list[int]:
    """Tokens of each part."""
    return [sum(len(r.batch.data[i].tokens) for i in here) for r, here in parts]


def _pass(arena: Arena, parts: Sequence[Part], rank: int) -> Found:
    """From the sequences of all parts to gradients in the arena; `rank` as `lora.blocks` takes it."""
    base, device, tree = arena.base, arena.base.device, _tree(parts)
    tokens, positions = hardware.upload(torch.tensor([tree.tokens, tree.positions]), device)
    runs = [(r.slot.index, n) for (r, _), n in zip(parts, tree.sizes, strict=True)]
    running = base.blocks(runs, fresh=[index not in arena.written for index, _ in runs], rank=rank)
    owned = [(r.batch.data[i], r.batch.norm[i]) for r, here in parts for i in here]
    learned = [
        (rows[t - 1], d.tokens[t], w / norm) for (d, norm), rows in zip(owned, tree.rows, strict=True) for t, w in enumerate(d.weights) if t and w
    ]
    rows, targets = hardware.upload(torch.tensor([(row, target) for row, target, _ in learned], dtype=torch.long).view(-1, 2).T, device)
    weight = hardware.upload(torch.tensor([w for _, _, w in learned], dtype=torch.promote_types(base.dtype, torch.float32)), device)
    hidden = base.forward(tokens, positions, tree.attention(device, base.flash), arena.bank, running)
    return Found([(r, r.step) for r, _ in parts], sizes(parts), *_backward(base, parts, hidden.index_select(0, rows), targets, weight))


def _tree(parts: Sequence[Part]) -> Tree:
    """The sequences of all parts."""
    return Tree.of([[r.batch.data[i].tokens for i in here] for r, here in parts])


Way = Literal["cross-entropy", "teacher", "rewards"]
"""How a token is learned."""


def _counts(parts: Sequence[Part]) -> list[int]:
    """Learned tokens of each part."""
    return [sum(w != 0 for i in here for w in r.batch.data[i].weights[1:]) for r, here in parts]


def _ways(parts: Sequence[Part], counts: Sequence[int]) -> list[Way]:
    """(M,) of the learned tokens of all parts, of which each has so many."""
    ways: list[Way] = []
    for (r, here), count in zip(parts, counts, strict=True):
        if LOSSES[r.job.loss].taught:
            ways += ["teacher" if known else "cross-entropy" for known in r.batch.teachers(here)]
        else:
            ways += ["rewards" if r.job.loss in FUNCTIONS else "cross-entropy"] * count
    return ways


def _rows(ways: Sequence[Way], way: Way, device: torch.device) -> Tensor | EllipsisType:
    """Where the tokens stand that are learned this way; where all are, nothing is copied."""
    if ways.count(way) == len(ways):
        return ...
    return hardware.upload(torch.tensor([i for i, each in enumerate(ways) if each == way], dtype=torch.long), device)


def _teacher(parts: Sequence[Part], like: Tensor) -> Teacher:
    """Of all tokens that have one, in their order."""
    taught = [(r.batch.teachers(here), options_of(r.job)) for r, here in parts if LOSSES[r.job.loss].taught]
    return Teacher.of([(known, options) for entries, options in taught for known in entries if known], like)


def _backward(base: Base, parts: Sequence[Part], states: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, list[tuple[int, str]]]:
    """From the states (M, d) of the learned tokens to gradients; the numbers and the metrics of `Found`.

    Cross-entropy is one fused product for all its parts, and so is distillation.
    """
    counts = _counts(parts)
    owner = hardware.upload(torch.repeat_interleave(torch.tensor(counts)), states.device)
    ways = _ways(parts, counts)
    plain = _rows(ways, "cross-entropy", states.device)
    total, sums = owned_loss(states[plain], base.head, targets[plain], weights[plain], owner[plain], len(parts))
    metrics: list[tuple[int, str, Tensor]] = []
    if "teacher" in ways:
        taught = _rows(ways, "teacher", states.device)
        loss, each = LinearDistillation.apply(states[taught], base.head, _teacher(parts, weights), weights[taught])  # type: ignore[no-untyped-call]
        kl = torch.zeros_like(sums).index_add_(0, owner[taught], each.masked_fill(lost(states[taught]), math.nan) * weights[taught])
        total, sums = total + loss, sums + kl
        metrics += [(index, "kl", kl[index]) for index, (r, _) in enumerate(parts) if LOSSES[r.job.loss].taught]
    for index, ((r, here), count, end) in enumerate(zip(parts, counts, accumulate(counts), strict=True)):
        if count and r.job.loss in FUNCTIONS:
            rows = slice(end - count, end)
            logp = LinearLogprobs.apply(states[rows], base.head, targets[rows])  # type: ignore[no-untyped-call]
            loss, found = policy_loss(r.job, logp.masked_fill(lost(states[rows]), math.nan), r.batch, here)
            total, sums[index] = total + loss, loss.detach()
            metrics += [(index, name, value.detach()) for name, value in found.items()]
    total.backward()  # type: ignore[no-untyped-call]
    return torch.cat([sums, *(value[None] for _, _, value in metrics)]), [(index, name) for index, name, _ in metrics]
