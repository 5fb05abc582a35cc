"""`all_edits`: all K self-edits together, none of them evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.baselines.base import Baseline, Comparison, baseline, merged
from selfedit.types import Example, Task


@baseline("all_edits", label="All K self-edits", means="an adapter for each document, on all K together, none of them evaluated")
class AllEdits(Baseline):
    """What more of the same is worth."""

    place = 4
    needs_edits = 2

    def examples(self, run: Comparison, task: Task, seed: int) -> Sequence[Example]:
        """What several say in the same words stands there once."""
        return merged(run.edits[task.id, seed][: run.policy.recipe.propose.candidates])
