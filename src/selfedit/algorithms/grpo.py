"""GRPO (Shao et al. 2024, arXiv 2402.03300), with options of Dr. GRPO (Liu et al. 2025, arXiv 2503.20783) and DAPO (Yu et al. 2025, 2503.14476)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Literal

from pydantic import Field

from selfedit.algorithms.base import Outer, PolicyGradient, algorithm
from selfedit.algorithms.groups import with_advantages
from selfedit.types import Candidate, Selected

EPSILON = 1e-4


class GRPOSettings(Outer):
    """Settings of `grpo`."""

    clip: float = Field(0.2, gt=0, lt=1)
    """The ratio of new to old probability counts down to 1 - clip."""
    clip_high: float = Field(0.2, gt=0)
    """The ratio counts up to 1 + clip_high; DAPO takes 0.28."""
    kl: float = Field(0.04, ge=0)
    """Weight of the divergence from the starting policy."""
    scale: bool = True
    """Divide advantages by the standard deviation of the group; Dr. GRPO does not."""
    normalise: Literal["sequence", "tokens", "constant"] = "sequence"
    """A mean over self-edits of means over their tokens, a mean over all tokens (DAPO), or sums over a constant length (Dr. GRPO)."""


@algorithm(
    "grpo", label="GRPO", means="PPO's clip with advantages normalised within each group; with options for Dr. GRPO and DAPO", settings=GRPOSettings
)
class GRPO(PolicyGradient):
    """Group-relative policy optimisation."""

    loss = "grpo"

    def select(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """Every scored self-edit of a group whose rewards differ."""
        return with_advantages(candidates, partial(normalised, scale=self.settings.scale))

    def options(self, kl: float, longest: int) -> dict[str, float]:
        """Clip, divergence, and what sums over tokens are divided by."""
        shape = {"sequence": {}, "tokens": {"token_mean": 1.0}, "constant": {"max_tokens": float(longest)}}[self.settings.normalise]
        return {"clip": self.settings.clip, "clip_high": self.settings.clip_high, "kl": kl, **shape}


def normalised(rewards: list[float], scale: bool) -> list[float]:
    """Each reward less the group's mean, over the group's standard deviation (section 4.1.2); Dr. GRPO leaves the division out."""
    mean, spread = fmean(rewards), stdev(rewards) + EPSILON if scale else 1.0
    return [(reward - mean) / spread for reward in rewards]
