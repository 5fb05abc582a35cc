"""Rewards made of answers to the reward questions: correctness, likelihood, both, and choice. What was not measured is unscored, never 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

from selfedit.config import Mix
from selfedit.types import Answer, Reward


def correctness(answers: Sequence[Answer]) -> Reward:
    """Share of the answers that are correct, 0 to 1 (SEAL section 4.1)."""
    marks = [answer.correct for answer in answers if answer.correct is not None]
    if not answers:
        return Reward(None, "correctness", "no reward questions")
    if len(marks) < len(answers):
        return Reward(None, "correctness", f"no right answer is known for {len(answers) - len(marks)} of {len(answers)} questions")
    return Reward(sum(marks) / len(marks), "correctness")


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


def choice(answers: Sequence[Answer]) -> Reward:
    """Mean probability of saying a sentence that holds the right answer, if one of the passage's is said, 0 to 1. Correctness without its steps.

    Of a passage learned by heart every sentence is likely once it has begun; what a question decides is which one begins. Questions whose answer no
    sentence holds, or every one, do not count.
    """
    chosen = [math.exp(answer.gold_logprob) for answer in answers if answer.gold_logprob is not None]
    if not chosen:
        return Reward(None, "choice", "no reward question whose answer some sentences of the passage hold and others do not")
    value = sum(chosen) / len(chosen)
    return Reward(value, "choice") if math.isfinite(value) else Reward(None, "choice", f"probability is not finite ({value})")


def mix(settings: Mix, answers: Sequence[Answer], base_answers: Sequence[Answer]) -> Reward:
    """`correctness` times the share of correct answers, plus `likelihood` times the gain in units of `nats`; both are among the parts."""
    right, gain = correctness(answers), likelihood(answers, base_answers)
    if right.value is None or gain.value is None:
        return Reward(None, "mix", right.reason or gain.reason)
    value = settings.correctness * right.value + settings.likelihood * gain.value / settings.nats
    return Reward(value, "mix", parts=(("correctness", right.value), ("likelihood", gain.value)))
