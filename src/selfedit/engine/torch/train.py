"""Many adapters trained at once: jobs wait for slots, every slot brings its next sequences, one pass serves them all.

Whatever shares a pass with a job never changes its result: initialisation and order come from the job's own generator, a loss is
normalised by the job's own tokens, and any split of the work into passes adds up to the same gradient.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from types import EllipsisType
from typing import Literal

import torch
from torch import Tensor

from selfedit.engine.losses import LOSSES, options_of
from selfedit.engine.torch.arena import Arena, Slot
from selfedit.engine.torch.attention import FlatAttention
from selfedit.engine.torch.cross_entropy import LinearCrossEntropy
from selfedit.engine.torch.distillation import LinearDistillation, Teacher
from selfedit.engine.torch.lora import Weights
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.policy_losses import FUNCTIONS, Batch, LinearLogprobs, policy_loss
from selfedit.engine.torch.workers import balanced_shares, run_shares
from selfedit.types import Datum, Optimizer, Progress, TrainJob


@dataclass(slots=True)
class Running:
    """A job in a slot."""

    index: int
    job: TrainJob
    slot: Slot
    generator: torch.Generator
    fresh: bool = True
    losses: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(init=False)
    tokens: int = 0
    batch: Batch = field(init=False)
    order: deque[int] = field(default_factory=deque)
    epoch: int = 0
    failure: str | None = None
    actions: list[Sequence[Datum]] = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = {name: [] for name in LOSSES[self.job.loss].metrics}
        data = iter(self.job.data)
        self.actions = [[next(data) for _ in range(n)] for n in self.job.groups or [1] * len(self.job.data)]

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.job.epochs * math.ceil(len(self.actions) / self.job.batch_size)

    def begin_step(self) -> None:
        """The actions of the next optimizer step; a new shuffle each epoch."""
        if not self.order:
            self.order.extend(torch.randperm(len(self.actions), generator=self.generator).tolist())
            self.epoch += 1
        self.batch = Batch.of(self.job, [self.actions[self.order.popleft()] for _ in range(min(self.job.batch_size, len(self.order)))])
        self.fresh = True
        self.losses.append(0.0)
        for values in self.metrics.values():
            values.append(0.0)

    def record(self, loss: float, metrics: Mapping[str, float]) -> None:
        """Add what one pass contributed to the running step."""
        self.fresh = False
        self.losses[-1] += loss
        for name, value in metrics.items():
            self.metrics[name][-1] += value

    def units(self) -> list[list[int]]:
        """The sequences of the step (by index) in parts that may go into different passes."""
        if not LOSSES[self.job.loss].coupled:
            return [[i] for i in range(len(self.batch.data))]
        return [list(indices) for _, indices in groupby(range(len(self.batch.data)), self.batch.action.__getitem__)]

    @property
    def done(self) -> bool:
        """Nothing is left to train."""
        return self.failure is not None or (self.epoch == self.job.epochs and not self.order)

    def outcome(self) -> Outcome:
        """What the job came to. No step looks at the weights that the last one leaves, so they are looked at here."""
        if self.failure is None and not self.slot.finite():
            self.failure = f"diverged at the last of {self.steps} steps: its weights are not finite; {self.advice}"
        weights = None if self.failure else self.slot.finished(self.job.lora)
        return Outcome(weights, tuple(self.losses), self.tokens, self.failure, {name: tuple(values) for name, values in self.metrics.items()})

    @property
    def advice(self) -> str:
        """What to do about a divergence."""
        return f"lower the learning rate ({self.job.optimizer.lr})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to; `weights` None with the reason in `failure`."""

    weights: Weights | None
    losses: tuple[float, ...]
    tokens: int
    failure: str | None
    metrics: dict[str, tuple[float, ...]] = field(default_factory=dict)


Part = tuple[Running, list[int]]
"""Some sequences of a job's step, by their index in it."""


def learning_rate(o: Optimizer, step: int, steps: int) -> float:
    """Of step number `step` (from 0) of `steps`, as in transformers' schedules."""
    if step < o.warmup_steps:
        return o.lr * step / o.warmup_steps
    left = (steps - step) / max(1, steps - o.warmup_steps)
    return o.lr * {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 + math.cos(math.pi * (1 - left)))}[o.schedule]


def train(base: Base, jobs: Sequence[TrainJob], slots: int, budget_tokens: int, workers: int = 1, progress: Progress | None = None) -> list[Outcome]:
    """One outcome a job, in their order. At most `slots` adapters at a time, about `budget_tokens` tokens a pass.

    On a CPU, `workers` threads of one core each take their share of the jobs: products of this size gain little from more cores.
    """
    shares = balanced_shares([_work(job) for job in jobs], min(workers, slots))

    def run(share: list[int], report: Callable[[int], None]) -> list[Outcome]:
        return _train(base, [jobs[i] for i in share], slots // len(shares), budget_tokens, report)

    return run_shares(run, shares, sum(map(_work, jobs)), progress)


def _work(job: TrainJob) -> int:
    """Tokens of all epochs."""
    return job.epochs * sum(len(d.tokens) for d in job.data)


def _train(base: Base, jobs: Sequence[TrainJob], slots: int, budget_tokens: int, progress: Callable[[int], None]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    waiting = deque(i for i, job in enumerate(jobs) if _check(i, job, outcomes))
    if not waiting:
        return [outcomes[i] for i in range(len(jobs))]
    arena = Arena(base, min(slots, len(waiting)), [jobs[i].lora for i in waiting])
    free = [Slot(arena, i) for i in range(arena.master.shape[0])]
    running: list[Running] = []
    trained = 0
    while waiting or running:
        while waiting and free:
            running.append(_begin(waiting.popleft(), jobs, free.pop()))
        for r in running:
            r.begin_step()
        for parts in _passes(running, budget_tokens):
            trained += _accumulate(arena, parts)
        norms = torch.stack([r.slot.gradient_norm() for r in running]).tolist()
        for r, norm in zip(running, norms, strict=True):
            _update(r, norm)
        for r in [r for r in running if r.done]:
            outcomes[r.index] = r.outcome()
            running.remove(r)
            free.append(r.slot)
        progress(trained)
    return [outcomes[i] for i in range(len(jobs))]


def _check(index: int, job: TrainJob, outcomes: dict[int, Outcome]) -> bool:
    if any(w for d in job.data for w in d.weights[1:]):
        return True
    outcomes[index] = Outcome(None, (), 0, "nothing to train on: no token carries weight")
    return False


def _begin(index: int, jobs: Sequence[TrainJob], slot: Slot) -> Running:
    job = jobs[index]
    generator = torch.Generator().manual_seed(job.seed)
    slot.begin(job.lora, job.optimizer, generator)
    return Running(index, job, slot, generator)


def _passes(running: Sequence[Running], budget_tokens: int) -> Iterator[list[Part]]:
    """Pack the batches of all jobs into passes of about `budget_tokens`; sequences of a job stay together where they fit."""
    parts: list[Part] = []
    room = budget_tokens
    for r in sorted(running, key=lambda r: (-sum(len(d.tokens) for d in r.batch.data), r.index)):
        for unit in r.units():
            size = sum(len(r.batch.data[i].tokens) for i in unit)
            if size > room and parts:
                yield parts
                parts, room = [], budget_tokens
            if parts and parts[-1][0] is r:
                parts[-1][1].extend(unit)
            else:
                parts.append((r, unit))
            room -= size
    if parts:
        yield parts


def _accumulate(arena: Arena, parts: Sequence[Part]) -> int:
    """One forward and backward pass; the gradients of every adapter are added to. Returns the tokens it took."""
    base = arena.base
    owned = [(r.batch.data[i], r.batch.norm[i]) for r, here in parts for i in here]
    lengths = [len(d.tokens) for d, _ in owned]
    device = base.device
    tokens = torch.tensor([t for d, _ in owned for t in d.tokens], device=device)
    positions = torch.cat([torch.arange(n, device=device) for n in lengths])
    sizes = [sum(len(r.batch.data[i].tokens) for i in here) for r, here in parts]
    running = base.blocks([(r.slot.index, n) for (r, _), n in zip(parts, sizes, strict=True)], fresh=[r.fresh for r, _ in parts])
    weights = [w / norm for d, norm in owned for w in (*d.weights[1:], 0.0)]
    labelled = [i for i, w in enumerate(weights) if w]
    rows = torch.tensor(labelled, dtype=torch.long, device=device)
    weight = torch.tensor([weights[i] for i in labelled], dtype=torch.promote_types(base.dtype, torch.float32), device=device)
    hidden = base.forward(tokens, positions, FlatAttention(lengths, device), arena.bank, running)
    states, targets = hidden[rows], tokens.roll(-1)[rows]
    for (r, _), n, (loss, metrics) in zip(parts, sizes, _backward(base, parts, states, targets, weight), strict=True):
        r.tokens += n
        r.record(loss, metrics)
    return len(tokens)


Way = Literal["cross-entropy", "teacher", "rewards"]
"""How a token is learned."""


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
    return torch.tensor([i for i, each in enumerate(ways) if each == way], dtype=torch.long, device=device)


def _teacher(parts: Sequence[Part], like: Tensor) -> Teacher:
    """Of all tokens that have one, in their order."""
    taught = [(r.batch.teachers(here), options_of(r.job)) for r, here in parts if LOSSES[r.job.loss].taught]
    return Teacher.of([(known, options) for entries, options in taught for known in entries if known], like)


def _backward(base: Base, parts: Sequence[Part], states: Tensor, targets: Tensor, weights: Tensor) -> list[tuple[float, dict[str, float]]]:
    """From the states (M, d) of the learned tokens to gradients; the loss of each part with its metrics.

    Cross-entropy is one fused product for all its parts, and so is distillation.
    """
    counts = [sum(w != 0 for i in here for w in r.batch.data[i].weights[1:]) for r, here in parts]
    owner = torch.repeat_interleave(torch.tensor(counts)).to(states.device)
    ways = _ways(parts, counts)
    plain = _rows(ways, "cross-entropy", states.device)
    lost = ~states.any(-1)  # an RMSNorm turns states that overflow into zeros, and the loss into log V
    total, each = LinearCrossEntropy.apply(states[plain], base.head, targets[plain], weights[plain])  # type: ignore[no-untyped-call]
    each = each.masked_fill(lost[plain], math.nan)
    sums = torch.zeros(len(parts), dtype=weights.dtype, device=states.device).index_add_(0, owner[plain], each * weights[plain])
    metrics: list[tuple[int, str, Tensor]] = []
    if "teacher" in ways:
        taught = _rows(ways, "teacher", states.device)
        loss, each = LinearDistillation.apply(states[taught], base.head, _teacher(parts, weights), weights[taught])  # type: ignore[no-untyped-call]
        kl = torch.zeros_like(sums).index_add_(0, owner[taught], each.masked_fill(lost[taught], math.nan) * weights[taught])
        total, sums = total + loss, sums + kl
        metrics += [(index, "kl", kl[index]) for index, (r, _) in enumerate(parts) if LOSSES[r.job.loss].taught]
    for index, ((r, here), count, end) in enumerate(zip(parts, counts, accumulate(counts), strict=True)):
        if count and r.job.loss in FUNCTIONS:
            rows = slice(end - count, end)
            logp = LinearLogprobs.apply(states[rows], base.head, targets[rows])  # type: ignore[no-untyped-call]
            loss, found = policy_loss(r.job, logp.masked_fill(lost[rows], math.nan), r.batch, here)
            total, sums[index] = total + loss, loss.detach()
            metrics += [(index, name, value.detach()) for name, value in found.items()]
    total.backward()
    numbers = torch.cat([sums, *(value[None] for _, _, value in metrics)]).tolist()  # the device is waited for once
    results: list[tuple[float, dict[str, float]]] = [(loss, {}) for loss in numbers[: len(parts)]]
    for (index, name, _), number in zip(metrics, numbers[len(parts) :], strict=True):
        results[index][1][name] = number
    return results


def _update(r: Running, norm: float) -> None:
    """The optimizer step of one job; a job whose loss or gradient is no longer finite stops, its neighbours do not notice."""
    step = len(r.losses) - 1
    if not (math.isfinite(r.losses[-1]) and math.isfinite(norm)):
        r.failure = f"diverged at step {step + 1} of {r.steps}: loss {r.losses[-1]}, gradient norm {norm}; {r.advice}"
        return
    r.slot.step(learning_rate(r.job.optimizer, step, r.steps), norm)
