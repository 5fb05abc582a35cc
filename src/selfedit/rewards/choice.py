"""Choice: the probability of saying a sentence that holds the right answer, if one of the passage's sentences is said.

Correctness without its steps, for self-edits that teach whole sentences. Every sentence of a passage that was learned by heart is likely once it has
begun; a question decides which one begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from selfedit.rewards.base import Measured, Needs, RewardFunction, reward
from selfedit.types import Answer, Reward


@reward("choice", means="the probability that it answers its document's reward questions with the sentences that hold the answers")
class Choice(RewardFunction):
    """Probability that the sentence which holds the right answer is said, if any of the passage's is."""

    def needs(self) -> Needs:
        """How likely each sentence of the passage is after a question."""
        return Needs(answers=True, gold=True, form="choice")

    def one(self, measured: Measured) -> Reward:
        """The mean probability of one candidate."""
        return choice(measured.answers)


def choice(answers: Sequence[Answer]) -> Reward:
    """Mean probability over the questions, 0 to 1. Questions whose answer no sentence holds, or every one, do not count."""
    chosen = [math.exp(answer.gold_logprob) for answer in answers if answer.gold_logprob is not None]
    if not chosen:
        return Reward(None, "choice", "no reward question whose answer some sentences of the passage hold and others do not")
    value = sum(chosen) / len(chosen)
    return Reward(value, "choice") if math.isfinite(value) else Reward(None, "choice", f"probability is not finite ({value})")
