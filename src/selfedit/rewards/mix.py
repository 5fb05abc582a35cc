"""Mix: correctness and likelihood gain together."""

from __future__ import annotations

from pydantic import Field

from selfedit.parts import Settings
from selfedit.rewards.base import Form, Measured, Needs, RewardFunction, reward
from selfedit.rewards.correctness import correctness
from selfedit.rewards.likelihood import likelihood
from selfedit.types import Reward


class MixSettings(Settings):
    """Settings of `mix`."""

    correctness: float = Field(0.5, ge=0)
    """Weight of the share of correct answers, which goes from 0 to 1."""
    likelihood: float = Field(0.5, ge=0)
    """Weight of the gain in log-likelihood."""
    nats: float = Field(1.0, gt=0)
    """The gain a token that counts as much as all answers being correct."""
    of: Form = "answer"
    """What the likelihood is measured on, as in the reward `likelihood`."""


@reward(
    "mix",
    means="a weighted sum: the share of reward questions it answered correctly, and what the right answers gained in likelihood",
    settings=MixSettings,
    labels={"correctness": "Correct", "likelihood": "Gain, nats a token"},
)
class Mix(RewardFunction):
    """`correctness` times the share of correct answers, plus `likelihood` times the gain in units of `nats`; both are among the parts."""

    def needs(self) -> Needs:
        """As `likelihood`."""
        return Needs(answers=True, gold=True, form=self.settings.of)

    def one(self, measured: Measured) -> Reward:
        """The sum for one candidate; unscored where either is."""
        right, gain = correctness(measured.answers), likelihood(measured.answers, measured.base_answers)
        if right.value is None or gain.value is None:
            return Reward(None, "mix", right.reason or gain.reason)
        value = self.settings.correctness * right.value + self.settings.likelihood * gain.value / self.settings.nats
        return Reward(value, "mix", parts=(("correctness", right.value), ("likelihood", gain.value)))
