"""Many adapters trained at once: jobs wait for slots, every slot brings its next sequences, one pass serves them all.

Whatever shares a pass with a job never changes its result: initialisation and order come from the job's own generator, a loss is
normalised by the job's own tokens, and any split of the work into passes adds up to the same gradient.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.arena import Arena, Slot, draw
from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.budget import Budget, pass_tokens
from selfedit.engine.torch.jobs import Outcome, Running
from selfedit.engine.torch.lanes import Lanes, speed
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.penalties import penalise, terms
from selfedit.engine.torch.stacked import most
from selfedit.engine.torch.training_pass import Found
from selfedit.engine.torch.workers import balanced_shares, run_shares
from selfedit.types import Progress, TrainJob

NOTHING = Outcome(None, (), 0, "nothing to train on: no token carries weight")
AHEAD = 8
"""Jobs whose random starts are drawn ahead for a GPU, each by a thread of its own."""


def train(
    base: Base,
    jobs: Sequence[TrainJob],
    slots: int,
    budget_tokens: int,
    workers: int = 1,
    progress: Progress | None = None,
    adapters: Mapping[str, Weights] = MappingProxyType({}),
) -> list[Outcome]:
    """One outcome a job, in their order. At most `slots` adapters at a time, about `budget_tokens` tokens a pass. `adapters` are those that jobs use.

    On a CPU, `workers` threads of one core each take their share of the jobs: products of this size gain little from more cores. A job that would
    be left alone is trained by all of them together.
    """
    shares, together = planned_shares(jobs, min(workers, slots))

    def run(share: list[int], report: Callable[[int], None]) -> list[Outcome]:
        alone, own = share is together, [jobs[i] for i in share]
        able = [i for i, job in enumerate(own) if any(w for d in job.data for w in d.weights[1:])]
        outcomes = {i: NOTHING for i in range(len(own)) if i not in able}
        if not able:
            return list(outcomes.values())
        arena = Arena(base, min(slots if alone else slots // len(shares), len(able)), [own[i].lora for i in able])
        budget = Budget(budget_tokens or pass_tokens(arena, max(len(d.tokens) for i in able for d in own[i].data)))
        waiting, free = Waiting(arena, {i: own[i] for i in able}, adapters), [Slot(arena, i) for i in range(arena.master.shape[0])]
        lanes, running = Lanes(arena, workers if alone else 1), list[Running]()
        unread: deque[Step] = deque()
        trained = 0
        while waiting or running:
            while waiting and free:
                running.append(waiting.begin(free.pop()))
            for r in running:
                r.begin_step()
            unread.append(_step(lanes, running, budget))
            trained += unread[-1].tokens
            late = int(hardware.on_gpu(base.device) and not any(r.done for r in running))
            while len(unread) > late:
                unread.popleft().read()
            finished = [r for r in running if r.done]
            for r, finite in zip(finished, torch.stack([r.slot.finite() for r in finished]).tolist() if finished else (), strict=True):
                outcomes[r.index] = r.outcome(finite)
                running.remove(r)
                free.append(r.slot)
            report(trained)
        return [outcomes[i] for i in range(len(own))]

    return run_shares(run, shares, sum(job.tokens for job in jobs), progress, together)


def planned_shares(jobs: Sequence[TrainJob], workers: int) -> tuple[list[list[int]], list[int]]:
    """Shares of the jobs for the workers, and what they train together afterwards: the largest job, where all is done sooner so.

    It depends on the jobs and the number of workers alone, so that the same call gives the same bits.
    """
    everything = list(range(len(jobs)))
    if workers < 2:
        return [], everything
    costs = [job.tokens for job in jobs]
    largest = max(everything, key=costs.__getitem__, default=0)
    rest = [i for i in everything if i != largest]
    shares = balanced_shares(costs, workers)
    others = [[rest[i] for i in share] for share in balanced_shares([costs[i] for i in rest], workers) if share]

    def ends(shares: Sequence[Sequence[int]]) -> float:
        return max((sum(costs[i] for i in share) for share in shares), default=0)

    sooner = bool(jobs) and ends(others) + costs[largest] / speed(jobs[largest], workers) < ends(shares)
    return (others, [largest]) if sooner else (shares, [])


class Waiting:
    """Jobs that wait for a slot. For a GPU, the random starts of the next ones are drawn by other threads while it trains those before them."""

    def __init__(self, arena: Arena, jobs: Mapping[int, TrainJob], adapters: Mapping[str, Weights]) -> None:
        self.arena, self.jobs, self.queue, self.adapters = arena, jobs, deque(jobs), adapters
        self.generators = {i: torch.Generator().manual_seed(job.seed) for i, job in jobs.items()}
        self.pool = ThreadPoolExecutor(AHEAD) if hardware.on_gpu(arena.base.device) else None
        self.drawn: dict[int, Future[Tensor]] = {}

    def __len__(self) -> int:
        return len(self.queue)

    def begin(self, slot: Slot) -> Running:
        """The next job, in this slot."""
        for i in list(self.queue)[: AHEAD if self.pool else 0]:
            if self.pool and i not in self.drawn and not self.jobs[i].start:
                self.drawn[i] = self.pool.submit(self._draw, i)
        index = self.queue.popleft()
        job, drawn = self.jobs[index], self.drawn.pop(index, None)
        start = drawn.result() if drawn else None
        if job.start:
            start = self.adapters[job.start.id].placed(self.arena.layout, self.arena.master)
        slot.begin(job.lora, job.optimizer, self.generators[index], start)
        return Running(index, job, slot, self.generators[index], terms(job, self.arena, self.adapters))

    def _draw(self, index: int) -> Tensor:
        row = torch.zeros(self.arena.layout.size, pin_memory=self.arena.base.device.type == "cuda")
        draw(self.arena, self.jobs[index].lora, self.generators[index], row)
        return row


@dataclass(frozen=True, slots=True)
class Step:
    """What an optimizer step of some jobs came to, on its way from the device: what was found in its passes, and the norm of each job's gradient.

    On a CPU the weights wait for the norms, and change when the step is read. On a GPU they have changed by then.
    """

    running: Sequence[tuple[Running, int]]
    """With the number of the job's own step."""
    found: Sequence[Found]
    numbers: Callable[[], Tensor]
    """Waits for the norms and then the numbers of what was found, which are on their way to the CPU, and gives them."""
    stepped: bool

    @property
    def tokens(self) -> int:
        """That it took."""
        return sum(sum(found.sizes) for found in self.found)

    def finite(self) -> bool:
        """Whether all losses, metrics and norms are numbers."""
        return bool(self.numbers().isfinite().all())

    def read(self, keep: bool = False) -> None:
        """Wait for the numbers, once, and hand them to the jobs. On a CPU weights then change, unless they are to be kept."""
        lengths = [len(self.running), *(len(found.numbers) for found in self.found)]
        norms, *numbers = (part.tolist() for part in torch.split(self.numbers(), lengths))
        for found, own in zip(self.found, numbers, strict=True):
            found.record(own)
        for (r, step), norm in zip(self.running, norms, strict=True):
            r.check(step, norm)
            if r.failure is None and not self.stepped and not keep:
                r.slot.step(r.rate, norm)


def _step(lanes: Lanes, running: Sequence[Running], budget: Budget) -> Step:
    """The passes of the running step of every job and, on a GPU, the optimizer's step.

    A job whose numbers are not finite may spoil those of its neighbours in a stack (`stacked`). Who it was is found out
    without stacks, and the step is done again with zeros as its adapter.
    """
    step = _passed(lanes, running, budget)
    if not (len(running) > 1 and most(lanes.arena.layout.rank, lanes.arena.base.like) > 1) or step.finite():
        return step
    _passed(lanes, running, budget, apart=True).read(keep=True)
    for r in running:
        if r.failure is None:
            r.forget_step()
        else:
            r.slot.shadow.zero_()
    return _passed(lanes, running, budget)


def _passed(lanes: Lanes, running: Sequence[Running], budget: Budget, apart: bool = False) -> Step:
    found = lanes.accumulate(running, budget, apart)
    able = [r for r in running if r.failure is None]
    found += [penalise(r) for r in able if r.penalties]
    if stepped := hardware.on_gpu(lanes.arena.base.device):
        norms = lanes.arena.step_together([r.slot for r in able], [r.rate for r in able])
    else:
        norms = torch.stack([r.slot.gradient_norm() for r in able]) if able else lanes.arena.gradient.new_zeros(0)
    numbers = hardware.download(torch.cat([norms, *(each.numbers for each in found)]))
    return Step([(r, r.step) for r in able], found, numbers, stepped)
