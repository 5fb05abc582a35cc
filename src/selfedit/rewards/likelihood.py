"""Likelihood: what the gold answers gained in log-likelihood. Denser than correctness: it moves where no answer changes sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

from selfedit.parts import Settings
from selfedit.rewards.base import Form, Measured, Needs, RewardFunction, reward
from selfedit.types import Answer, Reward


class LikelihoodSettings(Settings):
    """Settings of `likelihood`."""

    of: Form = "answer"
    """Of the gold answer itself, or of the passage's `sentence` that holds it, for self-edits that teach whole sentences."""


@reward(
    "likelihood",
    means="what the right answers to its document's reward questions gained in log-likelihood over the current weights, in nats a token",
    settings=LikelihoodSettings,
)
class Likelihood(RewardFunction):
    """Mean gain in the log-likelihood a token of the gold answers over the current weights, nats."""

    def needs(self) -> Needs:
        """The likelihood of the gold answers, in the form of the settings."""
        return Needs(answers=True, gold=True, form=self.settings.of, written=False)

    def one(self, measured: Measured) -> Reward:
        """The gain of one candidate."""
        return likelihood(measured.answers, measured.base_answers)


def likelihood(answers: Sequence[Answer], base_answers: Sequence[Answer]) -> Reward:
    """Mean gain in the log-likelihood a token of the gold answers, nats. Answers are matched by question, so several seeds may share one base."""
    if not answers:
        return Reward(None, "likelihood", "no reward questions")
    base = {answer.question: answer.gold_logprob for answer in base_answers}
    gains: list[float] = []
    for answer in answers:
        after, before = answer.gold_logprob, base.get(answer.question)
        if after is None or before is None:
            whose = "the adapter" if after is None else "the current weights"
            return Reward(None, "likelihood", f"no log-likelihood under {whose} for: {answer.question.question}")
        gains.append(after - before)
    value = sum(gains) / len(gains)
    return Reward(value, "likelihood") if math.isfinite(value) else Reward(None, "likelihood", f"log-likelihood is not finite ({value})")
