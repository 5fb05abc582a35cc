"""PPO (Schulman et al. 2017, arXiv 1707.06347): several epochs on the same self-edits, the ratio clipped, the divergence controlled.

There is no value network. A self-edit is one action from one state, the passage, and what stands for that state's value is the mean reward of the
other self-edits of the same passage. Over the round advantages are brought to a standard deviation of one, as usual with PPO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from selfedit.algorithms.groups import compared
from selfedit.algorithms.reinforce import leave_one_out
from selfedit.types import Candidate, Selected

EPSILON = 1e-8


def select(candidates: Sequence[Candidate]) -> list[Selected]:
    """Every scored self-edit of a group whose rewards differ. Advantages of a group add up to zero, so there is no mean to take off."""
    kept = compared(candidates, leave_one_out)
    scale = fmean(one.advantage**2 for one in kept) ** 0.5 + EPSILON if kept else 1.0
    return [replace(one, advantage=one.advantage / scale) for one in kept]


def control(coefficient: float, kl: float, target: float) -> float:
    """The next weight of the divergence (section 4): doubled where it came out 1.5 times too large, halved where as much too small."""
    if not target:
        return coefficient
    return coefficient * (2.0 if kl > 1.5 * target else 0.5 if kl < target / 1.5 else 1.0)
