"""The inner loop on many self-edits at once: train an adapter on each, measure what the reward needs, forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from selfedit.engine.base import Progress
from selfedit.loop.measuring import adapt
from selfedit.loop.steps import R, Steps
from selfedit.rewards import needs
from selfedit.types import Answer, Candidate, Proposal, Task

Base = Mapping[str, Sequence[Answer]]
"""The current weights' own answers to the reward questions of each task; empty where the reward compares with none."""


class Inner(Steps):
    """From self-edits to rewards."""

    def reward_base(self, name: str, tasks: Sequence[Task]) -> Base:
        """What rewards are compared with."""
        return self.answer_base(name, tasks, "reward") if needs(self.policy.recipe.reward).answers else {}

    def scored(
        self,
        name: str,
        tasks: Sequence[Task],
        proposals: Sequence[Proposal],
        base: Base,
        seeds: Sequence[int] = (),
        epochs: int | None = None,
    ) -> list[Candidate]:
        """Self-edits with their rewards, whole groups at a time: some rewards compare their members. `name` begins the names of the steps.

        An adapter is trained on each with every one of `seeds`, for `epochs`; both are the recipe's where not given.
        """
        inner, all_groups, candidates = self.policy.recipe.inner, groups(proposals), list[Candidate]()
        size = max(1, self.policy.recipe.chunk // max(map(len, all_groups), default=1))
        for i, chunk in enumerate(chunks(all_groups, size)):
            some = [p for group in chunk for p in group]
            title = f"Training and scoring self-edits {len(candidates) + 1} to {len(candidates) + len(some)} of {len(proposals)}"
            candidates += self.step(f"{name}{i}", Candidate, title, partial(self.adapt, tasks, some, base, seeds or range(inner.seeds), epochs))
        return candidates

    def adapt(
        self, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Base, seeds: Sequence[int], epochs: int | None, progress: Progress
    ) -> list[Candidate]:
        """A judge's replies are kept in the ledger."""
        return adapt(self.policy, tasks, proposals, base, self.ledger, seeds, epochs, progress)


def groups(proposals: Sequence[Proposal]) -> list[list[Proposal]]:
    """The proposals of each task in each round."""
    found: dict[tuple[str, int], list[Proposal]] = {}
    for p in proposals:
        found.setdefault((p.task_id, p.round), []).append(p)
    return list(found.values())


def chunks(items: Sequence[R], size: int) -> list[Sequence[R]]:
    """Neighbours together, at most `size` at a time."""
    return [items[i : i + size] for i in range(0, len(items), size)]
