"""The alarm: the vote share goes up and held-out accuracy down."""

from __future__ import annotations

import pytest

from selfedit.guards import collapse
from selfedit.types import Answer, Candidate, Proposal, Question, Result, Reward, SelfEdit

ARMS = ("untrained", "round-1", "round-2")


def candidates(*shares: float | None) -> list[Candidate]:
    """One a round."""
    edit = SelfEdit("self-qa", (), ())
    parts = [() if share is None else (("vote_share", share),) for share in shares]
    return [Candidate(Proposal("t", round_, 0, 0, edit), Reward(0.5, "majority", parts=each)) for round_, each in enumerate(parts)]


def results(*right: int, tasks: int = 12) -> list[Result]:
    """Of each arm: so many of ten answers right in every task."""
    marks = {arm: [n < r for n in range(10)] for arm, r in zip(ARMS, right, strict=False)}
    return [
        Result(arm, f"h{t}", tuple(Answer(Question(str(n), "x"), "", mark) for n, mark in enumerate(of)))
        for arm, of in marks.items()
        for t in range(tasks)
    ]


@pytest.mark.parametrize(
    ("shares", "right", "decision"),
    [
        ((0.4, 0.9), (6, 2), "stop"),
        ((0.4, 0.9), (6, 6), "accept"),
        ((0.4, 0.9), (6, 8), "accept"),
        ((0.9, 0.4), (6, 2), "accept"),  # worse, but not by agreeing more
    ],
)
def test_share_up_and_accuracy_down(shares: tuple[float, ...], right: tuple[int, ...], decision: str) -> None:
    verdict = collapse(1, candidates(*shares), results(*right))
    assert verdict and verdict.guard == "collapse" and verdict.decision == decision
    assert f"from {shares[0]:.3f} to {shares[1]:.3f}" in verdict.reason


def test_a_fall_that_may_be_chance_rejects_and_does_not_stop() -> None:
    verdict = collapse(1, candidates(0.4, 0.9), results(6, 5, tasks=1))
    assert verdict and verdict.decision == "reject"


def test_a_round_is_compared_with_the_one_before() -> None:
    verdict = collapse(2, candidates(0.4, 0.5, 0.9), results(2, 8, 3))
    assert verdict and verdict.decision == "stop" and "from 0.500 to 0.900" in verdict.reason


def test_it_cannot_decide_without_accuracy() -> None:
    verdict = collapse(1, candidates(0.4, 0.9), [])
    assert verdict and verdict.decision == "reject" and "no held-out accuracy" in verdict.reason


def test_silent_in_the_first_round_and_without_votes() -> None:
    assert collapse(0, candidates(0.4), results(6)) is None
    assert collapse(1, candidates(None, None), results(6, 2)) is None
