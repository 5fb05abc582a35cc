"""Bandits over strategies: each is an arm, a pull is one self-edit of one task, and what it pays is the self-edit's reward over the task's mean.

Thompson sampling (Thompson 1933; with normal posteriors Agrawal and Goyal 2013, arXiv 1209.3353) and UCB1 (Auer et al. 2002, Machine Learning 47).
A round is a batch: what its pulls paid is known only after the last of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any, Literal

from selfedit.algorithms.archive import UNSCORED, refuse_for_search
from selfedit.algorithms.base import Algorithm, Search, algorithm
from selfedit.errors import EngineError
from selfedit.grouping import grouped
from selfedit.parts import Settings
from selfedit.types import Candidate, Task, Variant


class BanditSettings(Settings):
    """Settings of `bandit`."""

    rule: Literal["thompson", "ucb1"] = "thompson"
    """Thompson sampling (Thompson 1933) from normal posteriors, or the upper confidence bounds of UCB1 (Auer et al. 2002)."""


@algorithm(
    "bandit",
    label="Bandit",
    means="a search over the strategies: the better are drawn more often, the best is measured; the policy is not updated, a simple baseline",
    settings=BanditSettings,
)
class Bandit(Algorithm):
    """K self-edits of every task a round, of the strategies that the bandit draws."""

    trains = False
    compares = True

    def check(self, recipe: Any) -> None:
        """Every pull has to be paid."""
        super().check(recipe)
        refuse_for_search(self, recipe)
        if recipe.open("prefilter").selective:
            name = recipe.prefilter.part
            raise ValueError(f"algorithm bandit needs the reward of every self-edit: prefilter.type {name} leaves some out; take early_stop or none")

    def search(self, run: Search, tasks: Sequence[Task]) -> Variant:
        """The strategy with the highest posterior mean. Raises EngineError where none was scored."""
        policy, candidates = run.policy, list[Candidate]()
        strategies, K = tuple(dict.fromkeys(policy.recipe.propose.choices)), policy.recipe.propose.candidates
        for number in range(policy.recipe.rounds):
            drawn = draw(self.settings.rule, strategies, candidates, len(tasks), K, policy.seed("bandit", number))
            candidates += run.collect(number, drawn)
        found = best(strategies, candidates)
        if found is None:
            raise EngineError(UNSCORED)
        return policy.known_variant(found, strategies.index(found))


@dataclass(frozen=True, slots=True)
class Arm:
    """A strategy after `pulls` scored self-edits: what they paid on average (`paid`, of all arms where it has none), and the normal posterior of its
    mean reward."""

    strategy: str
    pulls: int
    paid: float
    mean: float
    deviation: float


def posterior(strategies: Sequence[str], candidates: Sequence[Candidate]) -> list[Arm]:
    """One arm a strategy, in order. The prior is worth one pull: the mean m of all pay, and its standard deviation s (1 where all is equal).

    After n pulls that paid Σr the mean is (m + Σr) / (n + 1), its deviation s / √(n + 1). What was not scored, or what a guard refused, is no pull.
    """
    paid: dict[str, list[float]] = {strategy: [] for strategy in strategies}
    for strategy, reward in _paid(candidates):
        paid[strategy].append(reward)
    known = [reward for rewards in paid.values() for reward in rewards]
    m, s = fmean(known or [0.0]), pstdev(known or [0.0]) or 1.0
    return [
        Arm(name, n := len(rewards), fmean(rewards or [m]), (m + math.fsum(rewards)) / (n + 1), s / math.sqrt(n + 1))
        for name, rewards in paid.items()
    ]


def draw(
    rule: Literal["thompson", "ucb1"], strategies: Sequence[str], candidates: Sequence[Candidate], tasks: int, each: int, seed: int
) -> list[str]:
    """The strategies of a round's pulls, `each` of every task, given the self-edits of all earlier rounds.

    Where nothing is known yet, in turn, and each task begins with the next: so all strategies are compared, if through others, on the same tasks.
    """
    arms, rewards = posterior(strategies, candidates), [reward for _, reward in _paid(candidates)]
    if not rewards:
        return [strategies[(task + number) % len(strategies)] for task in range(tasks) for number in range(each)]
    return thompson(arms, tasks * each, seed) if rule == "thompson" else ucb1(arms, tasks * each, max(rewards) - min(rewards) or 1.0)


def thompson(arms: Sequence[Arm], pulls: int, seed: int) -> list[str]:
    """For each pull a mean is drawn from every arm's posterior; the highest is pulled."""
    rng = random.Random(seed)
    return [max([(rng.gauss(arm.mean, arm.deviation), arm.strategy) for arm in arms], key=lambda drawn: drawn[0])[1] for _ in range(pulls)]


def ucb1(arms: Sequence[Arm], pulls: int, span: float) -> list[str]:
    """Each pull goes to the arm with the highest bound; within the batch a pull counts at once, and is taken to pay what its arm paid so far."""
    counts, drawn = [arm.pulls for arm in arms], list[str]()
    for _ in range(pulls):
        bounds = [bound(arm.paid, n, sum(counts), span) for arm, n in zip(arms, counts, strict=True)]
        highest = bounds.index(max(bounds))
        counts[highest] += 1
        drawn.append(arms[highest].strategy)
    return drawn


def bound(paid: float, pulls: int, of: int, span: float) -> float:
    """UCB1's index, mean + √(2 ln n / nⱼ), for rewards that lie within `span` of each other in place of within [0, 1]; never pulled: infinite."""
    return paid + span * math.sqrt(2 * math.log(of) / pulls) if pulls else math.inf


def best(strategies: Sequence[str], candidates: Sequence[Candidate]) -> str | None:
    """The strategy with the highest posterior mean, the first of equal ones; None where none was ever scored."""
    pulled = [arm for arm in posterior(strategies, candidates) if arm.pulls]
    return max(pulled, key=lambda arm: arm.mean).strategy if pulled else None


def _paid(candidates: Sequence[Candidate]) -> list[tuple[str, float]]:
    """Strategy and reward of what was scored and accepted, less the mean reward of the task: easy tasks say nothing of a strategy."""
    known = [(c.proposal, c.reward.value) for c in candidates if c.accepted and c.reward.value is not None]
    means = {task_id: fmean(rewards) for task_id, rewards in grouped((p.task_id, reward) for p, reward in known).items()}
    return [(proposal.edit.strategy, reward - means[proposal.task_id]) for proposal, reward in known]
