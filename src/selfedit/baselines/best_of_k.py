"""`best_of_k`: the one of K self-edits that is best by the reward, trained anew before it is asked."""

from __future__ import annotations

from selfedit.baselines.base import Baseline, Comparison, Measurement, Start, baseline
from selfedit.types import Task


@baseline("best_of_k", label="Best of K", means="the one of K self-edits that is best by the reward, as a round chooses")
class BestOfK(Baseline):
    """What selection alone is worth."""

    place = 3
    needs_edits = 2
    rewarded = True

    def measure(self, run: Comparison) -> Start | None:
        """Where a task's self-edits have no reward, its first one stands; left out where none has any."""
        best = run.best_of_k(run.policy.recipe.propose.candidates)
        if not best:
            run.leave_out("best_of_k", "no self-edit of any document has a reward to choose it by")
            return None

        def plan(task: Task, seed: int) -> list[Measurement]:
            return [run.edited(task, seed, best.get((task.id, seed), run.edits[task.id, seed][0]).edit)]

        run.row("best_of_k", plan)
        return None
