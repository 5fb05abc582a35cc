"""A training job on its way through its epochs: the order of its data, its losses, its end.

What a job comes to depends on nothing but itself: initialisation and order come from its own generator.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from selfedit.engine.losses import LOSSES, metrics_of
from selfedit.engine.torch.arena import Slot
from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.policy_losses import Batch
from selfedit.types import Datum, Optimizer, TrainJob

Term = Callable[[Tensor, Tensor], Tensor]
"""A penalty: given a slot's weights and gradient (P,), it adds its own gradient and returns its value, a scalar, nats."""


@dataclass(slots=True)
class Running:
    """A job in a slot."""

    index: int
    job: TrainJob
    slot: Slot
    generator: torch.Generator
    penalties: Sequence[Term] = ()
    losses: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(init=False)
    tokens: int = 0
    batch: Batch = field(init=False)
    order: deque[int] = field(default_factory=deque)
    epoch: int = 0
    failure: str | None = None
    actions: list[Sequence[Datum]] = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = {name: [] for name in metrics_of(self.job)}
        data = iter(self.job.data)
        self.actions = [[next(data) for _ in range(n)] for n in self.job.groups or [1] * len(self.job.data)]

    @property
    def step(self) -> int:
        """The number of the running optimizer step, from 0."""
        return len(self.losses) - 1

    @property
    def rate(self) -> float:
        """The learning rate of the running step."""
        return learning_rate(self.job.optimizer, self.step, self.job.steps)

    def begin_step(self) -> None:
        """The actions of the next optimizer step; a new shuffle each epoch."""
        if not self.order:
            self.order.extend(torch.randperm(len(self.actions), generator=self.generator).tolist())
            self.epoch += 1
        self.batch = Batch.of(self.job, [self.actions[self.order.popleft()] for _ in range(min(self.job.batch_size, len(self.order)))])
        self.losses.append(0.0)
        for values in self.metrics.values():
            values.append(0.0)

    def forget_step(self) -> None:
        """As if nothing of the running step had been recorded, which is done again."""
        self.tokens -= sum(len(d.tokens) for d in self.batch.data)
        for values in (self.losses, *self.metrics.values()):
            values[-1] = 0.0

    def record(self, step: int, tokens: int, loss: float, metrics: Mapping[str, float]) -> None:
        """Add what one pass contributed to a step (from 0), unless the job had failed before."""
        if step >= len(self.losses) or self.failure is not None:
            return
        self.tokens += tokens
        self.losses[step] += loss
        for name, value in metrics.items():
            self.metrics[name][step] += value

    def check(self, step: int, norm: float) -> None:
        """A job whose loss or gradient is no longer finite at a step (from 0) stops there; its neighbours do not notice."""
        if self.failure is None and not (math.isfinite(self.losses[step]) and math.isfinite(norm)):
            self.failure = f"diverged at step {step + 1} of {self.job.steps}: loss {self.losses[step]}, gradient norm {norm}; {self.advice}"
            for values in (self.losses, *self.metrics.values()):
                del values[step + 1 :]  # of a step that had begun before this one was read

    def units(self) -> list[list[int]]:
        """The sequences of the step (by index) in parts that may go into different passes."""
        if not LOSSES[self.job.loss].coupled:
            return [[i] for i in range(len(self.batch.data))]
        return [list(indices) for _, indices in groupby(range(len(self.batch.data)), self.batch.action.__getitem__)]

    @property
    def done(self) -> bool:
        """Nothing is left to train."""
        return self.failure is not None or (self.epoch == self.job.epochs and not self.order)

    def outcome(self, finite: bool) -> Outcome:
        """What the job came to. No step looks at the weights that the last one leaves, so they were looked at for this: whether they are `finite`."""
        if self.failure is None and not finite:
            self.failure = f"diverged at the last of {self.job.steps} steps: its weights are not finite; {self.advice}"
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
