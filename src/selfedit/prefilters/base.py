"""What every prefilter is: something cheaper than the full inner loop rates the self-edits of a task, and only the best are trained in full.

Every prefilter asks one thing, by what it can see early: how much likelier will the gold answers of the reward questions become? `selfedit eval
--reliability` says how well each does with a model and documents. `@prefilter` registers one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from selfedit.errors import ConfigError
from selfedit.parts import Part, Registry, Settings
from selfedit.types import Answer, Progress, Proposal, Task

if TYPE_CHECKING:
    from selfedit.policy import Policy

Base = Mapping[str, Sequence[Answer]]
"""The current weights' own answers to the reward questions of each task; empty where the reward compares with none."""

Tasks = Mapping[str, Task]
"""Tasks by their ids."""
Ratings = list[float | None]
"""A rating of each self-edit, the higher the better; None where nothing was measured."""


class SelectiveSettings(Settings):
    """Settings of prefilters that leave self-edits out."""

    keep: int = Field(2, ge=1)
    """Self-edits of a task that are then trained in full; the others get no reward."""


class Prefilter(Part):
    """A cheap rating of self-edits before they are trained in full."""

    cheaper = True
    """Whether rounds cost less with it."""
    selective = True
    """Whether it leaves self-edits out. It then rates by the right answers to the reward questions."""
    rungs = 1
    """How often it rates, ever fewer self-edits."""

    @property
    def epochs(self) -> int | None:
        """Epochs of the trainings that rewards are measured after; None for those of the inner loop."""
        return None

    @property
    def longest(self) -> int:
        """Epochs of its longest training; 0 where it has none of its own."""
        return 0

    def check(self, recipe: Any) -> None:
        """Refuse rewards that go by no right answers, and algorithms that need more self-edits than are left."""
        if not self.selective:
            return
        name, keep, algorithm = self.settings.part, self.settings.keep, recipe.open("algorithm")
        if keep < algorithm.fewest:
            least = f"it learns from at least {algorithm.fewest} of a task"
            raise ValueError(f"prefilter.keep is {keep}, too few for algorithm {recipe.algorithm.part}: {least}")
        if not recipe.open("reward").needs().answers:
            raise ValueError(f"prefilter.type {name} rates by right answers, and reward {recipe.reward.part} goes by none: take early_stop or none")

    def check_run(self, recipe: Any) -> None:
        """Refuse what would leave nothing out, or be no shorter. Raises ConfigError."""
        K, epochs = recipe.propose.candidates, recipe.open("inner").epochs
        if self.selective and self.settings.keep >= K:
            raise ConfigError(f"prefilter.keep is {self.settings.keep}, and propose.candidates {K}: nothing would be left out")
        if self.longest and self.longest >= epochs:
            name = self.settings.part
            raise ConfigError(f"prefilter.type {name} trains for {self.longest} epochs, and inner.epochs is {epochs}: that is no shorter")

    def rate(self, policy: Policy, rung: int, tasks: Tasks, edits: Sequence[Proposal], base: Base, progress: Progress) -> Ratings:
        """A rating of each self-edit in this rung (from 0), the higher the better; None where nothing was measured."""
        raise NotImplementedError(f"prefilter {self.settings.part} rates nothing")


prefilter = Registry("prefilter", Prefilter)
"""`@prefilter(name, means=..., settings=...)` registers a subclass of Prefilter."""


def gains(policy: Policy, tasks: Tasks, edits: Sequence[Proposal], golds: Sequence[Sequence[float | None]], base: Base) -> Ratings:
    """What the gold answers' log-likelihoods come to for the recipe's reward, one value for each self-edit; None where nothing was measured."""
    values = []
    for edit, gold in zip(edits, golds, strict=True):
        questions = tasks[edit.task_id].reward_questions if gold else ()
        answers = [Answer(q, "", None, value) for q, value in zip(questions, gold, strict=True)]
        values.append(policy.reward_of_likelihood(answers, base.get(edit.task_id, ())))
    return values
