"""`contextual_edit`: the edit that the policy makes of how the model reads each document. What the run is about."""

from __future__ import annotations

from selfedit.vectors.rows.base import CONTEXTUAL, VectorRow, vector_row


@vector_row("contextual_edit", label="Edit by context", means="an edit for each document, made by the policy of how the model reads it")
class ContextualEdit(VectorRow):
    """The policy's mean, for documents that it never learned from."""

    place = 6
    learner = CONTEXTUAL
