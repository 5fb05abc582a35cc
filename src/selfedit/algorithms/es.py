"""Evolution strategies (Salimans et al. 2017, arXiv 1703.03864; on language models Qiu et al. 2025, arXiv 2509.24372): the baseline for edit vectors.

The population is all edits of a round, whatever context each was drawn for; its fitness are the rewards, z-scored over the population, and one edit
for all contexts moves along the mean of fitness times noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev

from selfedit.algorithms.base import Algorithm, algorithm

EPSILON = 1e-8


@algorithm("es", label="Evolution strategies", means="one edit vector for all contexts, moved by a population's rewards; for edit vectors alone")
class EvolutionStrategies(Algorithm):
    """The search distribution is that of the policy, without its context."""

    kinds = frozenset({"vector"})
    contextual = False

    def weigh(self, rewards: Sequence[float], advantages: Sequence[float], ratios: Sequence[float]) -> list[float]:
        """The z-scores of the rewards."""
        mean, spread = fmean(rewards), pstdev(rewards) + EPSILON
        return [(reward - mean) / spread for reward in rewards]
