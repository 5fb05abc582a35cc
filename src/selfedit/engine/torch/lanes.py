"""One step shared out to several threads of a CPU: each takes some of its sequences, with gradients of its own that are added up in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property

import torch

from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.branches import Tree, by_beginning, common
from selfedit.engine.torch.budget import Budget
from selfedit.engine.torch.jobs import Part, Running
from selfedit.engine.torch.memory import ALLOCATOR
from selfedit.engine.torch.training_pass import Found, accumulate_gradients, joined, sizes
from selfedit.engine.torch.workers import balanced_shares, contiguous_shares
from selfedit.types import Tokens, TrainJob

ROWS = 128
"""Tokens of a step that a lane has at least."""
OVERHEAD, EFFICIENCY = 130, 0.85
"""What a pass costs however few tokens it has, in tokens: reading the weights, and small operations. What a lane is worth beside a core of its own.

By measurements on two cores: docs/performance.md, "One job alone".
"""


def speed(job: TrainJob, cores: int) -> float:
    """About how many times as fast as one core lanes train a job; 1 where its steps are too small for them."""
    tokens = job.tokens / max(1, job.steps)
    lanes = min(cores, job.batch_size, len(job.groups or job.data), int(tokens / ROWS))
    return EFFICIENCY * (OVERHEAD + tokens) / (OVERHEAD + tokens / lanes) if lanes > 1 else 1.0


class Lanes:
    """At most `count` threads that add up the gradients of a step."""

    def __init__(self, arena: Arena, count: int) -> None:
        self.arena, self.count, self.threads = arena, count, torch.get_num_threads()

    @cached_property
    def arenas(self) -> list[Arena]:
        """That of the adapters, and for each further lane one beside it."""
        return [self.arena, *(self.arena.beside() for _ in range(self.count - 1))]

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads."""
        return ThreadPoolExecutor(self.count)

    def accumulate(self, running: Sequence[Running], budget: Budget, apart: bool = False) -> list[Found]:
        """The passes of the running step of every job, from which the gradients of their slots come; `apart` as in `accumulate_gradients`."""
        units = _units(running)
        tokens = [beside for _, beside in _costs(units)] if self.count > 1 else []
        count = min(self.count, len(units), sum(tokens) // ROWS)
        if count < 2:
            return _accumulate(self.arena, units, budget, apart)
        alike = tokens != sizes(units)
        shares = contiguous_shares(tokens, count, range(len(units))) if alike else balanced_shares(tokens, count)
        lanes = zip(self.arenas, shares, strict=False)
        try:
            threads = max(1, self.threads // count)
            futures = [self.pool.submit(_lane, threads, arena, [units[i] for i in share], budget, apart) for arena, share in lanes]
            wait(futures)
            found = [one for future in futures for one in future.result()]
        finally:
            torch.set_num_threads(self.threads)  # a lane's own number counts for some libraries in all threads
        for other in self.arenas[1:count]:
            self.arena.add_gradients(other)
        return found


def _lane(threads: int, arena: Arena, units: Sequence[Part], budget: Budget, apart: bool) -> list[Found]:
    torch.set_num_threads(threads)
    return _accumulate(arena, units, budget, apart)


def _accumulate(arena: Arena, units: Sequence[Part], budget: Budget, apart: bool) -> list[Found]:
    arena.written.clear()
    found = []
    for parts in _passes(units, budget):
        found += accumulate_gradients(arena, parts, budget, apart)
        ALLOCATOR.tidy()  # a step of many jobs has many passes, which together leave a gigabyte
    return found


def _units(running: Sequence[Running]) -> list[Part]:
    """The sequences of the step of all jobs, those of a job one after another, the longest step first. Neighbours begin alike where any do."""
    found: list[Part] = []
    for r in sorted(running, key=lambda r: (-sum(len(d.tokens) for d in r.batch.data), r.index)):
        units = [(r, unit) for unit in r.units()]
        found += [units[i] for i in by_beginning([_first(unit) for unit in units]) or range(len(units))]
    return found


def _first(unit: Part) -> Tokens:
    """Of its sequences the one that comes first in order."""
    r, here = unit
    return min(r.batch.data[i].tokens for i in here)


def _costs(units: Sequence[Part]) -> list[tuple[int, int]]:
    """Tokens that each adds to a pass: to an empty one, and to one with the unit before it, with which it may begin alike."""
    found = list[tuple[int, int]]()
    before: tuple[Running, Tokens] | None = None
    for r, here in units:
        alone, first = sum(Tree.of([[r.batch.data[i].tokens for i in here]]).sizes), _first((r, here))
        found.append((alone, alone - (common(before[1], first) if before and before[0] is r else 0)))
        before = r, first
    return found


def _passes(units: Sequence[Part], budget: Budget) -> Iterator[list[Part]]:
    """Pack sequences into passes of about the budget's tokens; those of a job stay together where they fit."""
    some, room = list[Part](), budget.tokens
    for unit, (alone, beside) in zip(units, _costs(units), strict=True):
        if beside > room and some:
            yield joined(some)
            some, room = [], budget.tokens
        room -= beside if some else alone
        some.append(unit)
    if some:
        yield joined(some)
