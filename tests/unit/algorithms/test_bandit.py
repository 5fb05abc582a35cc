"""The bandit over strategies.

1. Posterior and UCB1's index worked by hand; what was not scored or was refused is no pull.
2. Nothing known yet: in turn. Then a function of what is known and of the seed; within a batch UCB1 spreads its pulls.
3. On arms with known means it pulls the best most often, ends on it, and loses less than drawing at random does.
4. A whole run evaluates what was drawn, trains no policy, and measures the strategy with the best posterior mean; the report says how it went.
   (That it resumes anywhere is promise 2 of test_train.py.)
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from tests.unit.algorithms.house import recipe, train

from selfedit.algorithms.bandit import Arm, best, bound, draw, posterior, ucb1
from selfedit.ledger import Reader
from selfedit.report import write
from selfedit.types import Candidate, Proposal, Reward, SelfEdit, Verdict

MEANS = {"a": 0.2, "b": 0.25, "c": 0.5, "d": 0.1}
RULES: tuple[Literal["thompson", "ucb1"], ...] = ("thompson", "ucb1")


def pulled(strategy: str, reward: float | None, decision: Literal["accept", "reject"] = "accept", task: str = "t") -> Candidate:
    return Candidate(Proposal(task, 0, 0, 0, SelfEdit(strategy, (), ())), Reward(reward, "made"), verdicts=(Verdict("training", decision, ""),))


def test_by_hand() -> None:  # promise 1
    """Rewards 1, 2, 3 pay -1, 0, 1, with the standard deviation √(2/3). a: (0 - 1 + 0) / 3, √(2/3) / √3; b: (0 + 1) / 2; c: as before any pull."""
    candidates = [pulled("a", 1.0), pulled("b", 3.0), pulled("a", 2.0), pulled("b", None), pulled("b", 9.0, "reject")]
    a, b, c = posterior("abc", candidates)
    assert (a.pulls, b.pulls, c.pulls) == (2, 1, 0) and (a.paid, b.paid, c.paid) == (-0.5, 1.0, 0.0)
    assert (a.mean, b.mean, c.mean) == pytest.approx((-1 / 3, 1 / 2, 0.0))
    assert (a.deviation, b.deviation, c.deviation) == pytest.approx((math.sqrt(2) / 3, 1 / math.sqrt(3), math.sqrt(2 / 3)))
    assert best("abc", candidates) == "b" and best("abc", [pulled("a", None)]) is None and best("ba", [pulled("a", 1.0), pulled("b", 1.0)]) == "b"
    assert [arm.deviation for arm in posterior("a", [pulled("a", 0.0)] * 3)] == [0.5]  # equal rewards say nothing of their spread
    assert bound(0.5, 2, of=8, span=1.0) == pytest.approx(0.5 + math.sqrt(math.log(8))) and bound(9.0, 0, of=8, span=1.0) == math.inf
    assert bound(0.5, 2, of=8, span=0.1) == pytest.approx(0.5 + 0.1 * math.sqrt(math.log(8)))


def test_easy_tasks_say_nothing_of_a_strategy() -> None:  # promise 1
    drawn = draw("thompson", "abcd", [], 8, 2, seed=0)
    paid = [pulled(name, float(i // 2 % 2), task=f"t{i // 2}") for i, name in enumerate(drawn)]
    assert {arm.mean for arm in posterior("abcd", paid)} == {0.0}


def test_draws() -> None:  # promise 2
    for rule in RULES:
        assert draw(rule, "abc", [], 1, 5, seed=0) == draw(rule, "abc", [pulled("a", None)], 1, 5, seed=1) == ["a", "b", "c", "a", "b"]
        assert draw(rule, "abcd", [], 3, 2, seed=0) == ["a", "b", "b", "c", "c", "d"]
    known = [pulled("a", 0.1), pulled("b", 0.2), pulled("c", 0.3)]
    drawn = draw("thompson", "abc", known, 10, 5, seed=0)
    assert drawn == draw("thompson", "abc", known, 10, 5, seed=0) != draw("thompson", "abc", known, 10, 5, seed=1) and set(drawn) == set("abc")
    arms = [Arm("a", 4, 0.5, 0.0, 0.0), Arm("b", 4, 0.45, 0.0, 0.0), Arm("c", 0, 0.5, 0.0, 0.0)]
    assert ucb1(arms, 3, span=0.1) == ["c", "c", "c"]  # one pull is worth little: √(2 ln 9) against √(2 ln 9 / 4)
    assert Counter(ucb1(arms, 40, span=1.0)).keys() == set("abc")


def simulated(choose: str, seed: int) -> tuple[float, str | None]:
    """Regret a pull of 8 rounds of 12 pulls on arms with known means and normal noise, and what it ends on."""
    rng, candidates = random.Random(seed), list[Candidate]()
    for round_ in range(8):
        drawn = rng.choices("abcd", k=12) if choose == "uniform" else draw(choose, "abcd", candidates, 4, 3, 1000 * seed + round_)  # type: ignore[arg-type]
        candidates += [pulled(name, rng.gauss(MEANS[name], 0.2)) for name in drawn]
    return sum(0.5 - MEANS[c.proposal.edit.strategy] for c in candidates) / len(candidates), best("abcd", candidates)


@pytest.mark.parametrize("rule", RULES)
def test_the_best_arm_is_found(rule: str) -> None:  # promise 3
    runs: Sequence[tuple[float, str | None]] = [simulated(rule, seed) for seed in range(20)]
    uniform = [simulated("uniform", seed)[0] for seed in range(20)]
    assert sum(name == "c" for _, name in runs) >= 19
    assert sum(regret for regret, _ in runs) < (0.4 if rule == "thompson" else 0.8) * sum(uniform) and all(
        regret < other for (regret, _), other in zip(runs, uniform, strict=True)
    )


@pytest.mark.parametrize("rule", RULES)
def test_a_run(rule: str, tmp_path: Path) -> None:  # promise 4
    strategies = ["passage-only", "self-qa", "key-facts"]
    train(tmp_path / "run", recipe({"type": "bandit", "rule": rule}, propose={"strategies": strategies, "candidates": 4}, rounds=5))
    with Reader(tmp_path / "run") as reader:
        candidates, rows, held_out = reader.candidates(), reader.rows(), {result.task_id for result in reader.results("best_strategy")}
        assert reader.selected() == [] and reader.updates() == [] and reader.artifacts() == []
        measured = {p.edit.strategy for p in reader.step("evaluate/best_strategy/edits/0-0", Proposal) if p.task_id in held_out}
    rounds = [[c.proposal.edit.strategy for c in candidates if c.proposal.round == number] for number in range(5)]
    assert rounds[0] == strategies * 4 and all(len(names) == 12 for names in rounds)
    assert measured == {best(strategies, candidates)} and "best_strategy" in rows and "round-1" not in rows
    assert rounds[-1].count(next(iter(measured))) > 4
    page = write(tmp_path / "run").read_text(encoding="utf-8")
    assert "Strategies by round, drawn by the bandit" in page and '<th scope="row">self-qa</th>' in page and "Best strategy found" in page


def test_mixes_are_arms_too(tmp_path: Path) -> None:
    propose = {"strategies": ["passage-only", "self-qa", "key-facts"], "mix": 2, "candidates": 3}
    train(tmp_path / "run", recipe({"type": "bandit"}, propose=propose))
    with Reader(tmp_path / "run") as reader:
        assert [c.proposal.edit.strategy for c in reader.candidates(0)][:3] == ["passage-only+self-qa", "passage-only+key-facts", "self-qa+key-facts"]
        assert {"self-qa+key-facts", "best_strategy"} <= set(reader.rows())
