"""`random_directives`: the untrained self-edits, with settings drawn at random."""

from __future__ import annotations

from selfedit.baselines.base import Comparison, baseline
from selfedit.baselines.default_directives import DefaultDirectives
from selfedit.types import Directives, Task


@baseline(
    "random_directives",
    label="Untrained, random settings",
    means="an adapter for each document, on the self-edit of the untrained row, with each setting drawn from its alternatives at random",
)
class RandomDirectives(DefaultDirectives):
    """What any valid choice is worth."""

    def directives(self, run: Comparison, task: Task, seed: int) -> Directives:
        """Others for each document and seed."""
        return run.policy.recipe.space.random(run.policy.seed("random directives", task.id, seed))
