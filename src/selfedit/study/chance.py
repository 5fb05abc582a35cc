"""What reciting gives: the score of a random sentence of the right passage as the answer to a question about it. Computed, no model.

An answer may hold the gold answer because the right sentence was chosen, or because any sentence of a short passage would have done. A share of right
answers says something about questions only as far as it is above this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from selfedit.text import judge_answer, sentences
from selfedit.types import Question


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected values of the measures of an answer (`Judged`), each 0 to 1."""

    correct: float
    f1: float
    exact: float


def recital(context: str, questions: Sequence[Question]) -> list[Expected]:
    """For each question with a known answer the mean over all sentences of the passage, each as likely as any other; none without a passage."""
    said = sentences(context)
    return [_over(said, question) for question in questions if question.golds] if said else []


def _over(said: Sequence[str], question: Question) -> Expected:
    judged = [judge_answer(sentence, question.golds) for sentence in said]
    return Expected(fmean(one.correct for one in judged), fmean(one.f1 for one in judged), fmean(one.exact for one in judged))
