"""`default_directives`: the untrained self-edits, with the settings as the recipe has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfedit.baselines.base import Baseline, Comparison, Measurement, baseline, needs_directives
from selfedit.types import Directives, Task


@baseline(
    "default_directives",
    label="Untrained, default settings",
    means="an adapter for each document, on the self-edit of the untrained row, with the recipe's settings in place of those that the model chose",
)
class DefaultDirectives(Baseline):
    """What letting the model choose its settings is held against: the same self-edits, so that directives alone differ."""

    place = 2
    needs_edits = 1

    def called_for(self, recipe: Any) -> bool:
        """Wherever the model chooses settings."""
        return bool(recipe.propose.directives)

    def check(self, recipe: Any) -> None:
        """Refuse it where there is nothing to compare."""
        needs_directives(self.settings.part, recipe)

    def plan(self, run: Comparison, task: Task, seed: int) -> Sequence[Measurement]:
        """Also where what the model wrote as its settings cannot be used: these can."""
        strategy = run.start.strategy if run.start else run.policy.recipe.propose.choices[0]
        first = next(p.edit for p in run.edits[task.id, seed] if p.edit.strategy == strategy)
        return [run.edited(task, seed, run.policy.directed(task, first, self.directives(run, task, seed)))]

    def directives(self, run: Comparison, task: Task, seed: int) -> Directives:
        """The recipe's."""
        return run.policy.recipe.space.default
