"""What a run is computed with: the policy, the ledger, and who watches. It is passed to every function of the loop."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from selfedit.config import Recipe
from selfedit.errors import EngineError
from selfedit.grouping import grouped
from selfedit.ledger import Ledger
from selfedit.policy import Policy
from selfedit.store.artifacts import check, seal, write_adapter
from selfedit.types import Artifact, Progress, Proposal, Task, Trained, TrainJob, Variant, Watch

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A policy at work, its ledger, and who watches."""

    policy: Policy
    ledger: Ledger
    watch: Watch

    @property
    def recipe(self) -> Recipe:
        """The settings of the run."""
        return self.policy.recipe

    def step(self, name: str, kind: type[R], title: str, compute: Callable[[Progress], Sequence[R]]) -> list[R]:
        """A step of the ledger: computed once, recorded, shown by its title while it is computed; found again by a run that is resumed."""

        def shown() -> Sequence[R]:
            with self.watch.stage(title) as progress:
                return compute(progress)

        return self.ledger.step(name, kind, shown)

    def steps(
        self, name: str, kind: type[R], title: str, items: Sequence[T], compute: Callable[[Sequence[T], Progress], Sequence[R]], size: int = 0
    ) -> list[R]:
        """A step for each `size` of the items, the recipe's chunk unless given; `name` begins the names of the steps."""
        parts = enumerate(chunks(items, size or self.recipe.chunk))
        return [one for i, some in parts for one in self.step(f"{name}{i}", kind, title, partial(compute, some))]

    def writing_as(self, variant: Variant) -> Run:
        """The same run, in which the policy writes as a variant of a search does."""
        return replace(self, policy=self.policy.writing_as(variant))

    def export(self, trained: Trained, name: str) -> None:
        """Write an adapter into the run folder, whole or not at all. Raises EngineError where there is none."""
        if trained.adapter is None:
            raise EngineError(f"there is no adapter: {trained.failure}")
        adapter = trained.adapter
        write_adapter(self.ledger.folder / name, lambda draft: self.policy.engine.export(adapter, draft))

    def sealed(self, step: str, title: str, names: Sequence[str]) -> list[Path]:
        """Adapters of the run folder, whose digests are recorded in a step. Raises LedgerError where one is no longer what was recorded."""
        folder = self.ledger.folder
        return [check(folder, found) for found in self.step(step, Artifact, title, lambda _: [seal(folder, name) for name in names])]

    def train_policy(self, job: TrainJob, name: str, progress: Progress) -> Trained:
        """Train one adapter of the policy and leave it in the run folder. Raises EngineError where training fails."""
        with self.policy.adapters([job], progress, "the policy could not be trained") as [trained]:
            self.export(trained, name)
        return trained


def chunks(items: Sequence[R], size: int) -> Iterator[Sequence[R]]:
    """Neighbours together, at most `size` at a time."""
    return (items[i : i + size] for i in range(0, len(items), size))


def by_task(edits: Sequence[Proposal]) -> list[list[Proposal]]:
    """The self-edits of each task in each round: a group."""
    return list(grouped(((edit.task_id, edit.round), edit) for edit in edits).values())


def of_round(policy: Policy, tasks: Sequence[Task], number: int) -> Sequence[Task]:
    """The tasks of a round, in their old order. A pass over all of them is cut into whole rounds; what is left over waits for the next shuffle."""
    size = policy.recipe.round_passages
    if not 0 < size < len(tasks):
        return tasks
    epoch, place = divmod(number, len(tasks) // size)
    shuffled = random.Random(policy.seed("passages", epoch)).sample(range(len(tasks)), len(tasks))
    return [tasks[i] for i in sorted(shuffled[place * size : (place + 1) * size])]
