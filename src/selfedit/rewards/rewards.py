"""Rewards of a candidate from its answers to the reward questions. What was not measured is unscored, never 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

from selfedit.config import Correctness, RewardSettings
from selfedit.types import Answer, Reward


def reward(settings: RewardSettings, answers: Sequence[Answer], base_answers: Sequence[Answer]) -> Reward:
    """The reward a recipe asks for. `base_answers` are the current weights' own, before the adapter."""
    return correctness(answers) if isinstance(settings, Correctness) else likelihood(answers, base_answers)


def correctness(answers: Sequence[Answer]) -> Reward:
    """Share of the answers that are correct, 0 to 1 (SEAL section 4.1)."""
    if not answers:
        return Reward(None, "correctness", "no reward questions")
    return Reward(sum(answer.correct for answer in answers) / len(answers), "correctness")


def likelihood(answers: Sequence[Answer], base_answers: Sequence[Answer]) -> Reward:
    """Mean gain in the log-likelihood a token of the gold answers, nats.

    Denser than correctness: it moves where no answer changes sides. Answers are matched by question, so several seeds may share one base.
    """
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
