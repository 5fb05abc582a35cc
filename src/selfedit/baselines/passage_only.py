"""`passage_only`: trained on the passage alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfedit.baselines.base import Baseline, Comparison, baseline
from selfedit.types import Example, Task, TrainJob

if TYPE_CHECKING:
    from selfedit.policy import Policy


@baseline(
    "passage_only",
    label="Passage only",
    means="an adapter for each document, on the passage alone, for as many epochs",
    labels={"together": "Passages only", "together means": "trained on the passages alone, for as many epochs"},
)
class PassageOnly(Baseline):
    """What reading is worth."""

    def examples(self, run: Comparison, task: Task, seed: int) -> Sequence[Example]:
        """The passage."""
        return [run.policy.domain.passage(task)]

    def together(self, policy: Policy, tasks: Sequence[Task], seed: int, after: TrainJob) -> TrainJob:
        """All passages."""
        return policy.job([policy.domain.passage(task) for task in tasks], seed)
