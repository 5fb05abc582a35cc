"""`more_edits`: as many of the model's first self-edits as make up the tokens of the trained policy's."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.baselines.base import Baseline, Comparison, Measurement, Start, baseline, matched, merged
from selfedit.types import Task


@baseline(
    "more_edits",
    label="Untrained self-edits, same tokens",
    means="as many of the model's first self-edits as make up the tokens of the trained policy's",
)
class MoreEdits(Baseline):
    """The control for a policy that learned to write more."""

    when = "after"
    place = 1
    needs_edits = 2

    def measure(self, run: Comparison) -> Start | None:
        """Left out where nothing was trained."""
        if run.start and run.final and run.final is not run.start.results:
            return super().measure(run)
        run.leave_out("more_edits", "there is no trained policy whose tokens it could match")
        return None

    def plan(self, run: Comparison, task: Task, seed: int) -> Sequence[Measurement]:
        """Self-edits of the best strategy first, until there are enough tokens."""
        [enough] = {r.tokens for r in run.final if (r.task_id, r.seed, r.role) == (task.id, seed, "report")}
        strategy = run.start.strategy if run.start else ""
        group = sorted(run.edits[task.id, seed][: run.policy.recipe.propose.candidates], key=lambda p: p.edit.strategy != strategy)
        jobs = [run.job(task, seed, merged(group[:n])) for n in range(1, len(group) + 1)]
        return [Measurement(matched(next((job for job in jobs if job.tokens >= enough), jobs[-1]), enough), task.report_questions)]
