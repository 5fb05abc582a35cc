"""Guards that look at a round of training.

1. `reward_gap`: the gap between reward and validation questions may grow by chance, and by what is allowed; beyond that it is rejected, for certain
   it stops. A reward that rises while validation answers fall stops too. Its interval is the square-and-add of the two. Rounds need documents in
   common.
2. `vote_collapse`: unanimous tasks reject, one answer to everything stops, other rewards are none of its business.
3. `budget`: the limits that are set, each with its reason; none that is not.
4. In a run: validation questions are asked because a guard wants them; a guard that stops is the last thing that happens before the rows of the end,
   and a run that is taken up says the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.algorithms.house import recipe, train

from selfedit.config import Recipe, parse_recipe
from selfedit.errors import ConfigError
from selfedit.guards import RoundSeen, judge
from selfedit.guards.budget import BudgetSettings, budget
from selfedit.guards.reward_gap import difference, reward_gap
from selfedit.guards.vote_collapse import VoteCollapseSettings, vote_collapse
from selfedit.ledger import Reader
from selfedit.types import Answer, Candidate, Cost, Interval, Proposal, Question, Result, Reward, Round, SelfEdit, Verdict

# ---------------------------------------------------------------- promise 1


def round_(number: int, right: int, value: float, of: int = 10, tasks: int = 8) -> Round:
    """In every task one self-edit with this reward, whose adapter answers so many of the questions rightly."""
    answers = tuple(Answer(Question(str(n), "x"), "", n < right) for n in range(of))
    made = [Candidate(Proposal(f"t{t}", number, 0, 0, SelfEdit("self-qa", (), ())), Reward(value + t / 1000, "f1"), answers) for t in range(tasks)]
    return Round(number, tuple(made), ())


def results(right: int, tasks: int = 8) -> list[Result]:
    answers = tuple(Answer(Question(str(n), "x"), "", n < right) for n in range(10))
    return [Result("round-1", f"h{t}", answers, role="reward") for t in range(tasks)]


def verdict(before: Round | None, after: Round, then: list[Result], now: list[Result], guard: str = "reward_gap", **more: Any) -> Verdict | None:
    found = judge(Recipe().open_all("guard", (guard,)), "round", RoundSeen(before, after, then, now, **more))
    return found[0] if found else None


@pytest.mark.parametrize(
    ("right", "held_out", "values", "decision"),
    [
        ((3, 5), (3, 5), (0.3, 0.5), "accept"),  # both alike
        ((3, 3), (3, 5), (0.3, 0.3), "accept"),  # the better way round
        ((3, 4), (3, 3), (0.3, 0.4), "accept"),  # no more than is allowed
        ((2, 8), (3, 3), (0.2, 0.8), "stop"),
        ((3, 3), (6, 3), (0.3, 0.9), "stop"),  # a reward that is had without being right
        ((3, 3), (6, 6), (0.3, 0.9), "accept"),
    ],
)
def test_the_gap(right: tuple[int, int], held_out: tuple[int, int], values: tuple[float, float], decision: str) -> None:
    found = verdict(round_(0, right[0], values[0]), round_(1, right[1], values[1]), results(held_out[0]), results(held_out[1]))
    assert found and found.decision == decision, found


def test_between_alarm_and_certainty() -> None:
    held_out = Interval(0.0, -0.05, 0.05, 40)
    assert reward_gap(None, Interval(0.12, 0.02, 0.22, 40), held_out, 10.0).decision == "reject"
    assert reward_gap(None, Interval(0.12, -0.02, 0.26, 40), held_out, 10.0).decision == "accept"  # may be chance
    assert reward_gap(None, Interval(0.3, 0.25, 0.35, 40), held_out, 10.0).decision == "stop"
    assert reward_gap(Interval(0.3, 0.25, 0.35, 40), None, held_out, 10.0).decision == "accept"
    assert "no answers to validation questions" in reward_gap(None, None, None, 10.0).reason


def test_square_and_add() -> None:
    """Newcombe's (1998) difference of 56/70 and 48/80 out of their Wilson intervals: 0.2000 (0.0524 to 0.3339), table II, method 10."""
    found = difference(Interval(0.8, 0.6918, 0.8769, 70), Interval(0.6, 0.4904, 0.7002, 80))
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=2e-3)


def test_the_first_round_and_other_documents() -> None:
    assert verdict(None, round_(0, 3, 0.3), [], results(3)) is None
    found = verdict(round_(0, 3, 0.3), round_(1, 9, 0.9), [], results(3))
    assert found and found.decision == "reject" and "no answers to validation questions" in found.reason
    with pytest.raises(ConfigError, match="reward_gap compares rounds on the same documents"):
        parse_recipe({"engine": {"type": "fake"}, "guards": ["training", "reward_gap"], "round_passages": 2}, source="test")


# ---------------------------------------------------------------- promise 2


def votes(share: float | None, said: list[list[str]]) -> list[Candidate]:
    """In every task a question to each of the answers that are given."""
    parts = () if share is None else (("vote_share", share),)
    return [
        Candidate(
            Proposal(f"t{t}", 0, 0, 0, SelfEdit("self-qa", (), ())),
            Reward(1.0, "majority", parts=parts),
            tuple(Answer(Question(f"{t}.{n}", ""), text, None) for n, text in enumerate(of)),
        )
        for t, of in enumerate(said)
    ]


def test_votes() -> None:
    own = [[f"answer {t} {n}" for n in range(3)] for t in range(4)]
    fine, unanimous, collapsed = votes(0.6, own), votes(1.0, own), votes(1.0, [["The same."] * 3] * 4)
    limits = VoteCollapseSettings()
    decisions = [found.decision for some in (fine, unanimous, collapsed) if (found := vote_collapse(some, limits))]
    assert decisions == ["accept", "reject", "stop"]
    assert vote_collapse(votes(None, own), limits) is None
    few = vote_collapse(votes(0.6, [["Yes."] * 3]), limits)
    assert few and few.decision == "accept"  # three questions tell nothing
    found = verdict(None, Round(0, tuple(collapsed), ()), [], [], "vote_collapse")
    assert found and found.decision == "stop" and "one answer is the most frequent to 100% of 12 questions" in found.reason


# ---------------------------------------------------------------- promise 3


def test_limits() -> None:
    assert budget(10**9, 1e9, 10**9, BudgetSettings()) is None
    found = budget(900, 50.0, 12, BudgetSettings(tokens=1000, edits=12))
    assert found and found.decision == "accept" and found.reason == "900 tokens of 1,000, 12 edits of 12"
    for limits, name in (
        (BudgetSettings(tokens=899, seconds=60), "tokens"),
        (BudgetSettings(seconds=49.9), "seconds"),
        (BudgetSettings(edits=11), "edits"),
    ):
        found = budget(900, 50.0, 12, limits)
        assert found and found.decision == "stop" and found.reason.endswith(f"(recipe: guard.budget.{name})")
    assert verdict(None, round_(0, 1, 0.1), [], [], "budget", cost=Cost(train_tokens=5), edits=3) is None


# ---------------------------------------------------------------- promise 4


def test_a_run_that_is_stopped(tmp_path: Path) -> None:
    settings = recipe({"type": "rest_em"}, rounds=3, guards=["training", "budget", "reward_gap"], guard={"budget": {"edits": 20}})
    train(tmp_path / "run", settings)
    with Reader(tmp_path / "run") as reader:
        verdicts, steps, rows = reader.verdicts(), [step.name for step in reader.steps()], reader.results(role="reward")
        first = reader.content_hash()
    assert [(one.guard, one.decision) for one in verdicts] == [("budget", "accept"), ("budget", "stop"), ("reward_gap", "accept")]
    assert "24 edits of 20" in verdicts[1].reason and "the gap grew by" in verdicts[2].reason
    assert "round-0/update" in steps and "round-1/guards" in steps and "round-1/update" not in steps and "round-2/edits" not in steps
    assert {one.row for one in rows} >= {"untrained", "round-1"}
    whole = train(tmp_path / "other", settings)
    again = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        train(again, settings, whole - 1)
    train(again, settings)
    with Reader(again) as reader:
        assert reader.content_hash() == first
