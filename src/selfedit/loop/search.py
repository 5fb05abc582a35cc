"""Searches for a better strategy that leave the weights alone; what they find is measured on held-out documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from selfedit.algorithms import Algorithm
from selfedit.loop.round import answers_before, collect
from selfedit.loop.run import Run
from selfedit.policy import Policy
from selfedit.prefilters import Base
from selfedit.types import Candidate, Progress, Task, Variant


def search(run: Run, algorithm: Algorithm, tasks: Sequence[Task]) -> Variant:
    """The best strategy that the algorithm finds; noted, for who measures it again."""
    base = answers_before(run, "round-0/base", tasks)
    best = algorithm.search(SearchRun(run, algorithm, tasks, base), tasks)
    run.ledger.note("found", asdict(best))
    return best


@dataclass(frozen=True)
class SearchRun:
    """What a search asks of the run: `selfedit.algorithms.base.Search`."""

    run: Run
    algorithm: Algorithm
    tasks: Sequence[Task]
    base: Base

    @property
    def policy(self) -> Policy:
        """The run's."""
        return self.run.policy

    def collect(self, number: int, strategies: Sequence[str] = (), variant: Variant | None = None) -> list[Candidate]:
        """Self-edits of every task in round `number` with their rewards."""
        run = self.run.writing_as(variant) if variant else self.run
        return collect(run, self.tasks, number, self.base, self.algorithm, strategies)

    def variant(self, number: int, write: Callable[[Progress], Variant]) -> Variant:
        """A step of its own."""
        [found] = self.run.step(f"round-{number}/variant", Variant, f"Finding strategy {number + 1}", lambda progress: [write(progress)])
        return found
