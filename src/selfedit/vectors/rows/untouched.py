"""`base`: the untrained model."""

from __future__ import annotations

from selfedit.vectors.rows.base import VectorRow, vector_row


@vector_row("base", label="Before", means="the untrained model, with the passage in view, as in every row")
class Untouched(VectorRow):
    """Nothing is added."""
