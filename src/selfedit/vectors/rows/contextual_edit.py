"""`contextual_edit`: the edit that the policy makes of how the model reads each document. What the run is about."""

from __future__ import annotations

from selfedit.types import Task
from selfedit.vectors.rows.base import CONTEXTUAL, Comparison, VectorRow, Way, vector_row


@vector_row("contextual_edit", label="Edit by context", means="an edit for each document, made by the policy of how the model reads it")
class ContextualEdit(VectorRow):
    """The policy's mean, for documents that it never learned from."""

    place = 5
    learner = CONTEXTUAL

    def way(self, run: Comparison, task: Task) -> Way:
        """The mean of the policy, given the context."""
        return Way(run.edit(CONTEXTUAL, task))
