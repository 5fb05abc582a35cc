"""F1: how much of the answers is right, and how much of what is right they say (SQuAD's F1). A long answer that holds the right one earns little."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.rewards.base import Measured, RewardFunction, reward
from selfedit.text import judge_answer
from selfedit.types import Answer, Reward


@reward("f1", means="SQuAD's F1 of its answers to its document's reward questions: it falls with all that an answer says beside the right one")
class F1(RewardFunction):
    """Mean F1 of the answers, 0 to 1."""

    def one(self, measured: Measured) -> Reward:
        """The mean of one candidate."""
        return f1(measured.answers)


def f1(answers: Sequence[Answer]) -> Reward:
    """The mean F1 of answers, of several gold ones the best; unscored where there is nothing to compare an answer with."""
    unknown = sum(not answer.question.golds for answer in answers)
    if not answers or unknown:
        why = f"no right answer is known for {unknown} of {len(answers)} questions" if unknown else "no reward questions"
        return Reward(None, "f1", why)
    found = [judge_answer(answer.prediction, answer.question.golds).f1 for answer in answers]
    return Reward(sum(found) / len(found), "f1")
