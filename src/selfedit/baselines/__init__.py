"""Baselines: the rows of the table beside the result, a file a row."""

from selfedit.baselines.base import Baseline, Comparison, Edits, Measurement, Start, baseline

__all__ = ["Baseline", "Comparison", "Edits", "Measurement", "Start", "baseline"]
