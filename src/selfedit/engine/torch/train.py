"""Many adapters trained at once: jobs wait for slots, every slot brings its next sequences, one pass serves them all.

Whatever shares a pass with a job never changes its result: initialisation and order come from the job's own generator, a loss is
normalised by the job's own tokens, and any split of the work into passes adds up to the same gradient.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from selfedit.engine.base import Progress
from selfedit.engine.torch.arena import Arena, Slot
from selfedit.engine.torch.attention import FlatAttend
from selfedit.engine.torch.base import Base
from selfedit.engine.torch.lora import Weights
from selfedit.engine.torch.loss import LinearCrossEntropy
from selfedit.engine.torch.workers import balanced, together
from selfedit.types import Datum, Optimizer, TrainJob


@dataclass(slots=True)
class Running:
    """A job in a slot."""

    index: int
    job: TrainJob
    slot: Slot
    generator: torch.Generator
    fresh: bool = True
    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    batch: list[Datum] = field(default_factory=list)
    order: deque[int] = field(default_factory=deque)
    epoch: int = 0
    failure: str | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.job.epochs * math.ceil(len(self.job.data) / self.job.batch_size)

    def next_batch(self) -> list[Datum]:
        """The sequences of the next optimizer step; a new shuffle each epoch."""
        if not self.order:
            self.order.extend(torch.randperm(len(self.job.data), generator=self.generator).tolist())
            self.epoch += 1
        self.batch = [self.job.data[self.order.popleft()] for _ in range(min(self.job.batch_size, len(self.order)))]
        return self.batch

    @property
    def done(self) -> bool:
        """Nothing is left to train."""
        return self.failure is not None or (self.epoch == self.job.epochs and not self.order)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to; `weights` None with the reason in `failure`."""

    weights: Weights | None
    losses: tuple[float, ...]
    tokens: int
    failure: str | None


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
    shares = balanced([_work(job) for job in jobs], workers)

    def run(share: list[int], report: Callable[[int], None]) -> list[Outcome]:
        return _train(base, [jobs[i] for i in share], max(1, slots // len(shares)), budget_tokens, report)

    return together(run, shares, sum(map(_work, jobs)), progress)


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
            r.next_batch()
            r.fresh = True
            r.losses.append(0.0)
        for parts in _passes(running, budget_tokens):
            trained += _accumulate(arena, parts)
        norms = torch.stack([r.slot.gradient_norm() for r in running]).tolist()
        for r, norm in zip(running, norms, strict=True):
            _update(r, norm)
        for r in [r for r in running if r.done]:
            weights = None if r.failure else r.slot.finished(r.job.lora)
            outcomes[r.index] = Outcome(weights, tuple(r.losses), r.tokens, r.failure)
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


def _passes(running: Sequence[Running], budget_tokens: int) -> Iterator[list[tuple[Running, list[Datum]]]]:
    """Pack the batches of all jobs into passes of about `budget_tokens`; sequences of a job stay together where they fit."""
    parts: list[tuple[Running, list[Datum]]] = []
    room = budget_tokens
    for r in sorted(running, key=lambda r: (-sum(len(d.tokens) for d in r.batch), r.index)):
        for d in r.batch:
            if len(d.tokens) > room and parts:
                yield parts
                parts, room = [], budget_tokens
            if parts and parts[-1][0] is r:
                parts[-1][1].append(d)
            else:
                parts.append((r, [d]))
            room -= len(d.tokens)
    if parts:
        yield parts


def _accumulate(arena: Arena, parts: Sequence[tuple[Running, list[Datum]]]) -> int:
    """One forward and backward pass; the gradients of every adapter are added to. Returns the tokens it took."""
    base = arena.base
    data = [d for _, group in parts for d in group]
    lengths = [len(d.tokens) for d in data]
    device = base.device
    tokens = torch.tensor([t for d in data for t in d.tokens], device=device)
    positions = torch.cat([torch.arange(n, device=device) for n in lengths])
    rows_of = [(r.slot.index, sum(len(d.tokens) for d in group)) for r, group in parts]
    running = base.blocks(rows_of, fresh=[r.fresh for r, _ in parts])
    owner, weights = [], []
    for i, (r, group) in enumerate(parts):
        norm = sum(sum(d.weights[1:]) for d in r.batch) or 1.0
        for d in group:
            weights += [w / norm for w in d.weights[1:]] + [0.0]
        owner += [i] * rows_of[i][1]
        r.tokens += rows_of[i][1]
    labelled = [i for i, w in enumerate(weights) if w]
    rows = torch.tensor(labelled, dtype=torch.long, device=device)
    weight = torch.tensor([weights[i] for i in labelled], dtype=torch.promote_types(base.dtype, torch.float32), device=device)
    hidden = base.forward(tokens, positions, FlatAttend(lengths, device), arena.bank, running)
    states, targets = hidden[rows], tokens.roll(-1)[rows]
    loss, each = LinearCrossEntropy.apply(states, base.head, targets, weight, base.softcap)  # type: ignore[no-untyped-call]
    loss.backward()
    each = each.masked_fill(~states.any(-1), math.nan)  # an RMSNorm turns states that overflow into zeros, and the loss into log V
    sums = torch.zeros(len(parts), dtype=weight.dtype, device=device).index_add_(0, torch.tensor(owner, device=device)[rows], each * weight)
    for (r, _), value in zip(parts, sums.tolist(), strict=True):
        r.fresh = False
        r.losses[-1] += value
    return len(tokens)


def _update(r: Running, norm: float) -> None:
    """The optimizer step of one job; a job whose loss or gradient is no longer finite stops, its neighbours do not notice."""
    step = len(r.losses) - 1
    if not (math.isfinite(r.losses[-1]) and math.isfinite(norm)):
        r.failure = (
            f"diverged at step {step + 1} of {r.steps}: loss {r.losses[-1]}, gradient norm {norm}; lower the learning rate ({r.job.optimizer.lr})"
        )
        return
    r.slot.step(learning_rate(r.job.optimizer, step, r.steps), norm)
