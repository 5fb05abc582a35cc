"""`gradient_step`: one step along the gradient, as long as is best on the validation passages. What the basis does without a policy."""

from __future__ import annotations

from selfedit.types import Task
from selfedit.vectors.rows.base import Comparison, VectorRow, Way, vector_row


@vector_row("gradient_step", label="One gradient step", means="all numbers alike: a step along the gradient, its length chosen by validation")
class GradientStep(VectorRow):
    """What learned edits of the basis `gradient` have to beat."""

    place = 3
    basis = "gradient"

    def way(self, run: Comparison, task: Task) -> Way:
        """The same for every document."""
        return Way(run.step())
