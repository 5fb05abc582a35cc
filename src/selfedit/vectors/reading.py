"""From how a model reads a context to a few features: standardised, along the directions in which the training contexts differ most.

Shapes: n contexts, h hidden size, k directions, F = k + 1 features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfedit.vectors.gaussian import Array

FARTHEST = 3.0
"""Features of a context unlike all that were learned from are cut at so many deviations."""


@dataclass(frozen=True)
class Reading:
    """`center` and `spread` (h,) of the training contexts, and their principal directions (k, h), scaled to features of deviation 1 / √k."""

    center: Array
    spread: Array
    directions: Array

    def features(self, read: Sequence[float]) -> Array:
        """φ(C), (F,): a constant 1, and where the context lies along each direction. Together the others weigh about as much as the constant."""
        k = len(self.directions)
        found = self.directions @ ((np.asarray(read, dtype=np.float64) - self.center) / self.spread)
        return np.concatenate([[1.0], np.clip(found, -FARTHEST / max(1, k) ** 0.5, FARTHEST / max(1, k) ** 0.5)])


def fit(read: Sequence[Sequence[float]], most: int) -> Reading:
    """From what was read of the n training contexts; at most `most` directions, and no more than half as many as contexts: others tell noise."""
    whole = np.asarray(read, dtype=np.float64)
    center, spread = whole.mean(0), whole.std(0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    k = min(most, len(whole) // 2)
    _, values, right = np.linalg.svd((whole - center) / spread, full_matrices=False)
    k = min(k, int((values > 1e-6 * max(1e-12, float(values[0]))).sum()) if len(values) else 0)
    largest = np.take_along_axis(right, np.abs(right).argmax(1)[:, None], 1)
    directions = right * np.where(largest < 0, -1.0, 1.0)  # the sign of a direction is nobody's choice
    deviation = values / len(whole) ** 0.5
    return Reading(center, spread, directions[:k] / deviation[:k, None] / max(1, k) ** 0.5)
