"""The alarm: the vote share goes up, and accuracy on validation questions down: the reward questions of held-out documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from selfedit.config import Recipe
from selfedit.guards import RoundSeen, judge
from selfedit.types import Answer, Candidate, Proposal, Question, Result, Reward, Round, SelfEdit, Verdict


def candidates(share: float | None) -> list[Candidate]:
    """Those of a round."""
    parts = () if share is None else (("vote_share", share),)
    return [Candidate(Proposal("t", 0, 0, 0, SelfEdit("self-qa", (), ())), Reward(0.5, "majority", parts=parts))]


def results(*right: int, tasks: int = 12, role: Literal["report", "reward"] = "reward") -> list[Result]:
    """Under each seed so many of ten answers right in every task."""
    marks = [[n < r for n in range(10)] for r in right]
    return [
        Result("round-1", f"h{t}", tuple(Answer(Question(str(n), "x"), "", mark) for n, mark in enumerate(of)), role=role, seed=seed)
        for seed, of in enumerate(marks)
        for t in range(tasks)
    ]


def collapse(before: Sequence[Candidate], after: Sequence[Candidate], then: Sequence[Result], now: Sequence[Result]) -> Verdict | None:
    """What the guard says of a round, given the one before it; None where it says nothing."""
    seen = RoundSeen(Round(0, tuple(before), ()), Round(1, tuple(after), ()), then, now)
    verdicts = judge(Recipe().open_all("guard", ("collapse",)), "round", seen)
    return verdicts[0] if verdicts else None


@pytest.mark.parametrize(
    ("shares", "right", "decision"),
    [
        ((0.4, 0.9), (6, 2), "stop"),
        ((0.4, 0.9), (6, 6), "accept"),
        ((0.4, 0.9), (6, 8), "accept"),
        ((0.9, 0.4), (6, 2), "accept"),  # worse, but not by agreeing more
    ],
)
def test_share_up_and_accuracy_down(shares: tuple[float, float], right: tuple[int, int], decision: str) -> None:
    verdict = collapse(candidates(shares[0]), candidates(shares[1]), results(right[0]), results(right[1]))
    assert verdict and verdict.guard == "collapse" and verdict.decision == decision
    assert f"from {shares[0]:.3f} to {shares[1]:.3f}" in verdict.reason


def test_a_fall_that_may_be_chance_rejects_and_does_not_stop() -> None:
    verdict = collapse(candidates(0.4), candidates(0.9), results(6, tasks=1), results(5, tasks=1))
    assert verdict and verdict.decision == "reject"


def test_every_seed_counts() -> None:
    verdict = collapse(candidates(0.4), candidates(0.9), results(4, 8), results(2, 6))
    assert verdict and verdict.decision == "stop" and "changed by -20.0 points" in verdict.reason


def test_it_cannot_decide_without_accuracy() -> None:
    verdict = collapse(candidates(0.4), candidates(0.9), [], results(6))
    assert verdict and verdict.decision == "reject" and "no accuracy on validation questions" in verdict.reason


def test_report_questions_decide_nothing() -> None:
    verdict = collapse(candidates(0.4), candidates(0.9), results(6, role="report"), results(2, role="report"))
    assert verdict and verdict.decision == "reject" and "no accuracy on validation questions" in verdict.reason


def test_silent_without_votes() -> None:
    assert collapse(candidates(None), candidates(None), results(6), results(2)) is None
