"""Mix: correctness, F1 and likelihood gain together."""

from __future__ import annotations

from pydantic import Field

from selfedit.parts import Settings
from selfedit.rewards.base import Form, Measured, Needs, RewardFunction, reward
from selfedit.rewards.correctness import correctness
from selfedit.rewards.f1 import f1
from selfedit.rewards.likelihood import likelihood
from selfedit.types import Reward


class MixSettings(Settings):
    """Settings of `mix`."""

    correctness: float = Field(0.5, ge=0)
    """Weight of the share of correct answers, which goes from 0 to 1."""
    f1: float = Field(0.0, ge=0)
    """Weight of the F1 of the answers, which goes from 0 to 1. It needs gold answers."""
    likelihood: float = Field(0.5, ge=0)
    """Weight of the gain in log-likelihood."""
    nats: float = Field(1.0, gt=0)
    """The gain a token that counts as much as all answers being correct."""
    of: Form = "answer"
    """What the likelihood is measured on, as in the reward `likelihood`."""


@reward(
    "mix",
    means="a weighted sum: the share of reward questions it answered correctly, their F1, and what the right answers gained in likelihood",
    settings=MixSettings,
    labels={"correctness": "Correct", "f1": "F1", "likelihood": "Gain, nats a token"},
)
class Mix(RewardFunction):
    """`correctness` times the share of correct answers, `f1` times their F1, `likelihood` times the gain in `nats`: the sum and its parts."""

    def needs(self) -> Needs:
        """As `likelihood`."""
        return Needs(answers=True, gold=True, form=self.settings.of)

    def one(self, measured: Measured) -> Reward:
        """The sum for one candidate; unscored where a part is. F1 is a part where it has a weight."""
        parts = {"correctness": correctness(measured.answers), "likelihood": likelihood(measured.answers, measured.base_answers)}
        if self.settings.f1:
            parts["f1"] = f1(measured.answers)
        weights = {"correctness": self.settings.correctness, "f1": self.settings.f1, "likelihood": self.settings.likelihood / self.settings.nats}
        found = {name: one.value for name, one in parts.items() if one.value is not None}
        if len(found) < len(parts):
            return Reward(None, "mix", next(one.reason for one in parts.values() if one.value is None))
        return Reward(sum(weights[name] * value for name, value in found.items()), "mix", parts=tuple(found.items()))
