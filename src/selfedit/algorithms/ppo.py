"""PPO (Schulman et al. 2017, arXiv 1707.06347): several epochs on the same self-edits, the ratio clipped, the divergence controlled.

There is no value network. A self-edit is one action from one state, the passage, and what stands for that state's value is the mean reward of the
other self-edits of the same passage. Over the round advantages are brought to a standard deviation of one, as usual with PPO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from pydantic import Field

from selfedit.algorithms.base import Outer, PolicyGradient, algorithm
from selfedit.algorithms.groups import with_advantages
from selfedit.algorithms.reinforce import leave_one_out
from selfedit.types import Candidate, Selected, Update

EPSILON = 1e-8


class PPOSettings(Outer):
    """Settings of `ppo`."""

    epochs: int = Field(4, ge=1)
    """Passes over the self-edits of a round."""
    clip: float = Field(0.2, gt=0, lt=1)
    """The ratio of new to old probability counts between 1 - clip and 1 + clip."""
    kl: float = Field(0.05, ge=0)
    """Weight of the divergence from the starting policy in the first round."""
    kl_target: float = Field(0.05, ge=0)
    """Target divergence, nats a token: later updates double the weight above 1.5 times the target, halve it below 1 / 1.5 times; 0 keeps it."""


@algorithm(
    "ppo",
    label="PPO",
    means="several epochs under a clipped ratio, the divergence kept near a target; the group is the baseline",
    settings=PPOSettings,
)
class PPO(PolicyGradient):
    """PPO without a value network."""

    loss = "ppo"
    kinds = frozenset({"data", "vector"})

    @property
    def passes(self) -> int:  # type: ignore[override]
        """Those over the self-edits of a round."""
        return int(self.settings.epochs)

    def select(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """Every scored self-edit of a group whose rewards differ. Advantages of a group add up to zero, so there is no mean to take off."""
        selected = with_advantages(candidates, leave_one_out)
        scale = fmean(one.advantage**2 for one in selected) ** 0.5 + EPSILON if selected else 1.0
        return [replace(one, advantage=one.advantage / scale) for one in selected]

    def options(self, kl: float, longest: int) -> dict[str, float]:
        """One clip for both sides."""
        return {"clip": self.settings.clip, "clip_high": self.settings.clip, "kl": kl}

    def weigh(self, rewards: Sequence[float], advantages: Sequence[float], ratios: Sequence[float]) -> list[float]:
        """Ratio times advantage, brought to a standard deviation of one over the round; nothing where the clip has cut the ratio off."""
        scale = fmean(advantage**2 for advantage in advantages) ** 0.5 + EPSILON
        low, high = 1 - self.settings.clip, 1 + self.settings.clip
        pairs = zip(advantages, ratios, strict=True)
        return [advantage / scale * ratio * (ratio < high if advantage > 0 else ratio > low) for advantage, ratio in pairs]

    def kl(self, before: Update | None, divergence: float | None) -> float:
        """The weight in the first update; afterwards controlled by what the update `before` led to."""
        if before is None:
            return float(self.settings.kl)
        coefficient = before.metrics.get("kl_coefficient", self.settings.kl)
        return control(coefficient, divergence, self.settings.kl_target) if before.losses and divergence is not None else coefficient


def control(coefficient: float, kl: float, target: float) -> float:
    """The next weight of the divergence (section 4): doubled where it came out 1.5 times too large, halved where as much too small."""
    if not target:
        return coefficient
    return coefficient * (2.0 if kl > 1.5 * target else 0.5 if kl < target / 1.5 else 1.0)
