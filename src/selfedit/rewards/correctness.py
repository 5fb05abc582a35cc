"""Correctness: the share of the reward questions that were answered rightly (SEAL section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.rewards.base import Measured, RewardFunction, reward
from selfedit.types import Answer, Reward


@reward("correctness", means="the share of its document's reward questions that it answered correctly, by the local judge")
class Correctness(RewardFunction):
    """Share of the reward questions answered correctly."""

    def one(self, measured: Measured) -> Reward:
        """The share of one candidate."""
        return correctness(measured.answers)


def correctness(answers: Sequence[Answer]) -> Reward:
    """Share of the answers that are correct, 0 to 1."""
    marks = [answer.correct for answer in answers if answer.correct is not None]
    if not answers:
        return Reward(None, "correctness", "no reward questions")
    if len(marks) < len(answers):
        return Reward(None, "correctness", f"no right answer is known for {len(answers) - len(marks)} of {len(answers)} questions")
    return Reward(sum(marks) / len(marks), "correctness")
