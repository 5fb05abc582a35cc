"""`es`: one edit for all documents, learned by evolution strategies."""

from __future__ import annotations

from selfedit.vectors.rows.base import ES, VectorRow, vector_row


@vector_row("es", label="Evolution strategies", means="one edit for all documents, learned by evolution strategies from as many edits")
class EvolutionStrategiesRow(VectorRow):
    """The baseline without a policy gradient."""

    place = 5
    learner = ES
