"""`mean_edit`: one edit for all documents, learned with the recipe's algorithm."""

from __future__ import annotations

from selfedit.vectors.rows.base import MEAN, VectorRow, vector_row


@vector_row("mean_edit", label="One edit for all", means="the same edit for all documents, learned by the same algorithm from as many edits")
class MeanEdit(VectorRow):
    """What there is to learn without looking at the context."""

    place = 4
    learner = MEAN
