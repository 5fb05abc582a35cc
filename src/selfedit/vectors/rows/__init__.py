"""The rows of the table of edit vectors: what the learned edits stand beside. Each is a file here, or a class of your own: `@vector_row`."""

from selfedit.vectors.rows.base import CONTEXTUAL, ES, MEAN, Comparison, Learner, VectorRow, Way, vector_row

__all__ = ["CONTEXTUAL", "ES", "MEAN", "Comparison", "Learner", "VectorRow", "Way", "vector_row"]
