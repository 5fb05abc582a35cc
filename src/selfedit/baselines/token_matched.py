"""`token_matched`: trained on the passage alone, for as many tokens as the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfedit.baselines.base import Baseline, Comparison, Measurement, Start, baseline, matched
from selfedit.types import Task, TrainJob

if TYPE_CHECKING:
    from selfedit.policy import Policy


@baseline(
    "token_matched",
    label="Passage only, same tokens",
    means="an adapter for each document, on the passage alone, for as many tokens as the result's",
    labels={"together": "Passages only, same tokens", "together means": "trained on the passages alone, for as many tokens as the result"},
)
class TokenMatched(Baseline):
    """The control for the amount of training."""

    when = "after"

    def measure(self, run: Comparison) -> Start | None:
        """Left out where there is no row to match."""
        if run.final:
            return super().measure(run)
        run.leave_out("token_matched", "there is no row to match; name `untrained` too")
        return None

    def plan(self, run: Comparison, task: Task, seed: int) -> Sequence[Measurement]:
        """The passage, as often as makes up the tokens of the final row's adapter."""
        [tokens] = {r.tokens for r in run.final if (r.task_id, r.seed, r.role) == (task.id, seed, "report")}
        return [Measurement(matched(run.job(task, seed, [run.policy.domain.passage(task)]), tokens), task.report_questions)]

    def together(self, policy: Policy, tasks: Sequence[Task], seed: int, after: TrainJob) -> TrainJob:
        """All passages, for as many tokens as the final adapter."""
        return matched(policy.job([policy.domain.passage(task) for task in tasks], seed), after.tokens)
