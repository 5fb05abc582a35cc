"""`es`: one edit for all documents, learned by evolution strategies."""

from __future__ import annotations

from selfedit.types import Task
from selfedit.vectors.rows.base import ES, Comparison, VectorRow, Way, vector_row


@vector_row("es", label="Evolution strategies", means="one edit for all documents, learned by evolution strategies from as many edits")
class EvolutionStrategiesRow(VectorRow):
    """The baseline without a policy gradient."""

    place = 4
    learner = ES

    def way(self, run: Comparison, task: Task) -> Way:
        """The mean of the search."""
        return Way(run.edit(ES, task))
