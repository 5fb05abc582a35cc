"""`random_edit`: one of the K self-edits at random."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.baselines.base import Baseline, Comparison, Measurement, baseline
from selfedit.types import Task


@baseline("random_edit", label="One of K at random", means="an adapter for each document, on one of K self-edits that the untrained model wrote")
class RandomEdit(Baseline):
    """What the best of K is held against."""

    place = 2
    needs_edits = 2

    def plan(self, run: Comparison, task: Task, seed: int) -> Sequence[Measurement]:
        """Drawn with a seed of its own."""
        group = run.edits[task.id, seed][: run.policy.recipe.propose.candidates]
        return [run.edited(task, seed, group[run.policy.seed("drawn", task.id, seed) % len(group)].edit)]
