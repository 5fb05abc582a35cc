"""`zero`: the edit of zeros, whose adapter changes nothing: it has to answer as the model does."""

from __future__ import annotations

from selfedit.types import Task
from selfedit.vectors.rows.base import CONTEXTUAL, Comparison, VectorRow, Way, vector_row


@vector_row("zero", label="Zero edit", means="an adapter of zeros, which has to answer as the untrained model does")
class Zero(VectorRow):
    """A check of the machinery."""

    place = 1
    learner = CONTEXTUAL

    def way(self, run: Comparison, task: Task) -> Way:
        """As many zeros as an edit has numbers."""
        return Way((0.0,) * len(run.edit(CONTEXTUAL, task)))
