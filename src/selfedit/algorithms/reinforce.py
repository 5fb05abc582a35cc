"""REINFORCE with a leave-one-out baseline (RLOO: Ahmadian et al. 2024, arXiv 2402.14740; Kool et al. 2019).

The baseline leaves the gradient unbiased; the default sampling does not. Log-probabilities are those at temperature 1, while self-edits are drawn at
temperature 0.7 with top-p 0.95. For the policy gradient itself set `propose.sampling.temperature` and `top_p` to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from selfedit.algorithms.base import Outer, PolicyGradient, algorithm
from selfedit.algorithms.groups import with_advantages
from selfedit.types import Candidate, Selected


class ReinforceSettings(Outer):
    """Settings of `reinforce`."""

    kl: float = Field(0.05, ge=0)
    """Weight of the divergence from the starting policy, as a term of the loss."""


@algorithm(
    "reinforce",
    label="REINFORCE",
    means="the policy gradient with the mean of the other self-edits as baseline, without a clip",
    settings=ReinforceSettings,
)
class Reinforce(PolicyGradient):
    """REINFORCE with a leave-one-out baseline."""

    loss = "reinforce"
    kinds = frozenset({"data", "vector"})

    def select(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """Every scored self-edit of a group whose rewards differ."""
        return with_advantages(candidates, leave_one_out)

    def weigh(self, rewards: Sequence[float], advantages: Sequence[float], ratios: Sequence[float]) -> list[float]:
        """The advantages as they are: the gradient of the mean reward, without bias (Williams 1992)."""
        return list(advantages)


def leave_one_out(rewards: list[float]) -> list[float]:
    """Each reward less the mean of the others (eq. 6): a baseline that the self-edit itself had no part in."""
    total = sum(rewards)
    return [reward - (total - reward) / (len(rewards) - 1) for reward in rewards]
