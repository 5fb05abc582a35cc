"""What guards say of a training, of an adapter, and where they cannot say anything.

1. `training` names the first failure; `forgetting` compares the mean loss with the limit; `worse` counts the questions whose answer is known.
2. Verdicts carry the guard's name; only guards of the stage are asked, and one that has nothing to say leaves no verdict.
3. A guard that fails cannot decide, and rejects; an error of our own stops the work.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from selfedit.errors import ConfigError
from selfedit.guards import AdapterSeen, CandidateSeen, Guard, judge
from selfedit.guards.forgetting import forgetting
from selfedit.guards.worse import worse
from selfedit.parts import KINDS, Settings
from selfedit.types import Adapter, Answer, Question, Score, Trained


def opened(name: str) -> Guard:
    registry: Any = KINDS["guard"]
    found: Guard = registry.open(registry.get(name).settings())
    return found


def answers(*right: bool | None) -> list[Answer]:
    return [Answer(Question(str(n), "" if mark is None else "x"), "", mark) for n, mark in enumerate(right)]


@pytest.mark.parametrize(
    ("before", "after", "decision"),
    [
        ((True, False), (False, False), "reject"),
        ((True, False), (False, True), "accept"),  # as many
        ((True, False), (True, True), "accept"),
        ((True, None, True), (True, None, False), "reject"),
    ],
)
def test_an_adapter_that_answers_fewer_questions(before: tuple[bool, ...], after: tuple[bool, ...], decision: str) -> None:  # promise 1
    verdict = worse(answers(*before), answers(*after))
    assert verdict and verdict.decision == decision


def test_worse_says_how_many() -> None:  # promise 1
    verdict = worse(answers(True, True, None), answers(True, False, None))
    assert verdict and verdict.reason == "1 of 2 reward questions are answered rightly with the adapter, 2 without it"
    assert worse([], []) is None and worse(answers(None), answers(None)) is None


@pytest.mark.parametrize(("after", "decision"), [(-2.0, "accept"), (-3.0, "accept"), (-3.1, "reject"), (-math.inf, "reject"), (math.nan, "reject")])
def test_forgetting(after: float, decision: str) -> None:  # promise 1
    assert forgetting([Score((-1.0, -1.0))] * 2, [Score((after, after))] * 2, 2.0).decision == decision


def test_a_failed_training() -> None:  # promises 1, 2
    fine, failed = Trained(Adapter("a"), (1.0,), 1), Trained(None, (), 1, "diverged")
    guards = [opened(name) for name in ("training", "worse", "forgetting", "collapse")]
    [verdict] = judge(guards, "candidate", CandidateSeen([fine, failed]))
    assert (verdict.guard, verdict.decision, verdict.reason) == ("training", "reject", "diverged")
    [verdict] = judge(guards, "candidate", CandidateSeen([fine]))
    assert (verdict.guard, verdict.decision) == ("training", "accept")


def test_nothing_to_say_leaves_no_verdict() -> None:  # promise 2
    nobody: Any = None
    seen = AdapterSeen(nobody, Adapter("a"), answers(None), answers(None))
    assert judge([opened("worse")], "adapter", seen) == []


class Broken(Guard):
    def __init__(self, error: Exception) -> None:
        super().__init__(Settings())
        self.error = error

    def verdict(self, seen: Any) -> None:
        raise self.error


def test_a_guard_that_fails_rejects() -> None:  # promise 3
    [verdict] = judge([Broken(ZeroDivisionError("by zero"))], "adapter", None)
    assert verdict.decision == "reject" and verdict.reason == "the guard failed and cannot decide: ZeroDivisionError: by zero"
    with pytest.raises(ConfigError):
        judge([Broken(ConfigError("no"))], "adapter", None)
