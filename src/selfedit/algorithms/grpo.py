"""GRPO (Shao et al. 2024, arXiv 2402.03300), with options of Dr. GRPO (Liu et al. 2025, arXiv 2503.20783) and DAPO (Yu et al. 2025, 2503.14476)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev

from selfedit.algorithms.groups import compared
from selfedit.types import Candidate, Selected

EPSILON = 1e-4


def select(candidates: Sequence[Candidate], scale: bool) -> list[Selected]:
    """Every scored self-edit of a group whose rewards differ."""
    return compared(candidates, partial(normalised, scale=scale))


def normalised(rewards: list[float], scale: bool) -> list[float]:
    """Each reward less the group's mean, over the group's standard deviation (section 4.1.2); Dr. GRPO leaves the division out."""
    mean, spread = fmean(rewards), stdev(rewards) + EPSILON if scale else 1.0
    return [(reward - mean) / spread for reward in rewards]
