"""How far rewards and prefilters can be trusted, from the ledger of `selfedit eval --reliability`.

A candidate there has the answers of S adapters to the same Q questions, so that every reward made of answers can be computed from them again. The
self-edits of a task share their S seeds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from selfedit.grouping import grouped
from selfedit.ledger import Reader, Step
from selfedit.report.words import PartWords, percent, plain, plural, points, points_range, signed
from selfedit.study.reliability import Array, BestOf, Prefiltered, best_of, icc, prefiltered, seeds_for, single, spearman_brown, standings
from selfedit.types import Answer, Candidate, Cost, Interval, Result, Task

FILE = "reliability.json"
TARGET = 0.7
"""The reliability that is asked for."""
CURVE = 10
"""Seeds to which reliability is projected."""
ONE_SEED = "one_seed"
"""The full reward itself, as a prefilter."""
DRAWS = 20
"""Random choices of questions that are averaged."""

Answers = Mapping[str, Sequence[Answer]]
MEASURES: dict[str, Callable[[Answer, float | None], float | None]] = {
    "correctness": lambda answer, before: None if answer.correct is None else float(answer.correct),
    "likelihood": lambda answer, before: None if answer.gold_logprob is None or before is None else answer.gold_logprob - before,
    "choice": lambda answer, before: None if answer.gold_logprob is None else math.exp(answer.gold_logprob),
}
"""Rewards as means over questions: what one answer adds, given the log-likelihood of the gold answer before. Two of them are likelihoods of
different texts, and only one was measured."""
MIX = "mix"
"""Both, with the weights of a recipe that has this reward, else half of each."""


@dataclass(frozen=True, slots=True)
class RewardTrust:
    """One reward. `mean`: of all self-edits. `within`: ICC(3,1), `over_all`: ICC(1,1). `curve`: ICC(3,k) within tasks for k = 1, 2, ... `wanted`:
    seeds that reach the target.

    `best`: the best of K selected on 1, 2, ... seeds, in the reward's own unit; `in_answers`: the same self-edits' true gain in the share of correct
    answers, by the other seeds. `by_questions`: ICC(3,1) within tasks with at most so many questions.
    """

    name: str
    mean: float
    within: Interval | None
    over_all: Interval | None
    curve: list[float]
    wanted: int | None
    best: list[BestOf]
    in_answers: list[Interval | None]
    by_questions: list[tuple[int, float | None]]


@dataclass(frozen=True, slots=True)
class PrefilterTrust:
    """A prefilter beside the full reward. `cost` is of one self-edit; `saved` the share of a round's CPU time saved with 1, 2, ... survivors,
    `alone` where the prefilter takes the full reward's place."""

    name: str
    label: str
    found: Prefiltered
    cost: Cost
    alone: float | None
    saved: list[float | None]


@dataclass(frozen=True, slots=True)
class Trust:
    """All of it. `cost` is of training one adapter and asking it; `base` is the share of correct answers before; `unscored` self-edits failed to
    train and are left out."""

    tasks: int
    edits: int
    seeds: int
    questions: float
    unscored: int
    base: float
    reward: str
    cost: Cost
    rewards: list[RewardTrust]
    prefilters: list[PrefilterTrust]


def review(reader: Reader) -> Trust | None:
    """None where the run made no such trials."""
    steps = [step for step in reader.steps() if step.name.startswith("trials/")]
    recipe, tasks, candidates = reader.info().recipe, reader.tasks(), reader.candidates()
    if not any(step.kind == "Candidate" for step in steps):
        return None
    S = int(recipe["reliability"]["seeds"])
    base = reader.results("base", "reward")
    arrays = _arrays(tasks, candidates, base, S, recipe["reward"])
    scored = [candidate for candidate in candidates if candidate.reward.value is not None]
    answering = _cost(steps, "candidates-", len(candidates) * S)
    return Trust(
        tasks=len({candidate.proposal.task_id for candidate in candidates}),
        edits=len(candidates),
        seeds=S,
        questions=float(np.mean([len(task.reward_questions) for task in tasks])),
        unscored=len(candidates) - len(scored),
        base=_share_correct(base),
        reward=candidates[0].reward.kind,
        cost=answering,
        rewards=[_reward(name, groups, arrays["correctness"]) for name, groups in arrays.items() if groups],
        prefilters=_prefilters(reader, steps, scored, arrays.get(candidates[0].reward.kind, []), answering, S),
    )


def _share_correct(base: Sequence[Result]) -> float:
    """The mean over tasks, as rewards are averaged."""
    return float(np.mean([np.mean([bool(answer.correct) for answer in result.answers]) for result in base if result.answers]))


# ---------------------------------------------------------------- rewards

Cube = Array
"""(K, S, Q)"""


def _weights(reward: Mapping[str, Any]) -> tuple[float, float]:
    """What one right answer, and one nat a token, add to the mix."""
    return (reward["correctness"], reward["likelihood"] / reward["nats"]) if reward["type"] == MIX else (0.5, 0.5)


def _arrays(
    tasks: Sequence[Task], candidates: Sequence[Candidate], base: Sequence[Result], S: int, reward: Mapping[str, Any]
) -> dict[str, list[Cube]]:
    """What each answer adds to each reward, a (K, S, Q) array for every task; self-edits without a reward are left out."""
    before = {(result.task_id, answer.question): answer.gold_logprob for result in base for answer in result.answers}
    found: dict[str, list[Cube]] = {}
    for name in ("correctness", "choice" if reward["type"] == "choice" else "likelihood"):
        measure = MEASURES[name]
        for task in tasks:
            group = [c for c in candidates if c.proposal.task_id == task.id and c.reward.value is not None]
            values = [[measure(answer, before.get((task.id, answer.question))) for answer in c.answers] for c in group]
            cube = np.array(values, dtype=float).reshape(len(group), S, len(task.reward_questions))
            counted = cube[:, :, ~np.isnan(cube).all(axis=(0, 1))]
            if counted.size and not np.isnan(counted).any():
                found.setdefault(name, []).append(counted)
    right, gain = found.get("correctness", []), found.get("likelihood", [])
    if right and len(right) == len(gain):
        each_right, each_nat = _weights(reward)
        found[MIX] = [each_right * a + each_nat * b for a, b in zip(right, gain, strict=True)]
    return found


def _reward(name: str, cubes: Sequence[Cube], correct: Sequence[Cube]) -> RewardTrust:
    groups = [cube.mean(axis=2) for cube in cubes]
    S = groups[0].shape[1]
    within = icc(groups, within=True, paired=True)
    several = any(len(group) > 1 for group in groups)
    scored = [cube.mean(axis=2) for cube in correct] if len(correct) == len(cubes) else None
    return RewardTrust(
        name=name,
        mean=float(np.mean([group.mean() for group in groups])),
        within=within,
        over_all=icc(groups, within=False),
        curve=[spearman_brown(within.mean, k) for k in range(1, CURVE + 1)] if within else [],
        wanted=seeds_for(within.mean, TARGET) if within else None,
        best=[best_of(groups, k) for k in range(1, S + 1)] if several else [],
        in_answers=[best_of(groups, k, scored).true for k in range(1, S)] if several and scored else [],
        by_questions=_by_questions(cubes),
    )


def _by_questions(cubes: Sequence[Cube]) -> list[tuple[int, float | None]]:
    """With fewer questions a reward is noisier: ICC(3,1) within tasks, averaged over random choices of at most so many of each task's."""
    most = max(cube.shape[2] for cube in cubes)
    rng = np.random.default_rng(0)
    table: list[tuple[int, float | None]] = []
    for q in sorted({1, 2, 3, 4, 6, 8, 12, most}):
        if q <= most:
            drawn = [single([_some(cube, q, rng) for cube in cubes], within=True, paired=True) for _ in range(DRAWS)]
            known = [value for value in drawn if value is not None]
            table.append((q, float(np.mean(known)) if known else None))
    return table


def _some(cube: Cube, q: int, rng: np.random.Generator) -> Array:
    chosen = rng.permutation(cube.shape[2])[:q]
    means: Array = cube[:, :, chosen].mean(axis=2)
    return means


# ---------------------------------------------------------------- prefilters


def _prefilters(
    reader: Reader, steps: Sequence[Step], scored: Sequence[Candidate], cubes: Sequence[Cube], answering: Cost, S: int
) -> list[PrefilterTrust]:
    ratings = reader.ratings()
    rows = [_one_seed(cubes, answering, S)] if cubes and S > 1 else []
    words = PartWords(reader.notes())
    edits = len(reader.proposals())
    for name in dict.fromkeys(rating.prefilter for rating in ratings):
        standing = standings([rating for rating in ratings if rating.prefilter == name])
        groups = grouped((c.proposal.task_id, (c.reward.value, standing.get(c.proposal.key, math.nan))) for c in scored)
        found = prefiltered([[(np.array([f for f, _ in group]), np.array([s for _, s in group]))] for group in groups.values()])
        rows.append(
            _prefilter(name, words.label("prefilter", name), found, _cost(steps, f"{name}-", edits), answering, S, edits / max(1, len(groups)))
        )
    return rows


def _one_seed(cubes: Sequence[Cube], answering: Cost, S: int) -> PrefilterTrust:
    """The yardstick: the full reward itself from one seed, beside the mean of the others. No prefilter can be expected to do better."""
    groups = [cube.mean(axis=2) for cube in cubes]
    pairs = [[(np.delete(group, s, axis=1).mean(axis=1), group[:, s]) for s in range(S)] for group in groups]
    return _prefilter(
        ONE_SEED, "full reward, one seed", prefiltered(pairs), answering, answering, S, float(np.mean([len(group) for group in groups]))
    )


def _prefilter(name: str, label: str, found: Prefiltered, cost: Cost, answering: Cost, S: int, K: float) -> PrefilterTrust:
    full = S * answering.cpu_s
    if not full:
        return PrefilterTrust(name, label, found, cost, None, [None] * len(found.survivors))
    left = 1 - 1 / S if name == ONE_SEED else 1  # of a survivor's full training
    share = cost.cpu_s / full
    return PrefilterTrust(name, label, found, cost, 1 - share, [1 - share - left * survivors.keep / K for survivors in found.survivors])


def _cost(steps: Sequence[Step], name: str, over: int) -> Cost:
    """Of the steps of a name, for each of so many."""
    total = sum((step.cost for step in steps if step.name.startswith(f"trials/{name}")), Cost())
    return Cost(*(value / max(1, over) for value in asdict(total).values()))


# ---------------------------------------------------------------- in words


def verdict(trust: Trust) -> str:
    """Which reward to take."""
    known = [reward for reward in trust.rewards if reward.within]
    if not known:
        return "Nothing tells these self-edits apart."
    best = max(known, key=lambda reward: reward.within.mean if reward.within else 0.0)
    if best.wanted is None:
        return "No reward tells these self-edits apart."
    return f"{best.name.capitalize()} tells self-edits apart best."


def sentence(trust: Trust) -> str:
    """What the figures say, reward by reward."""
    said = []
    for reward in trust.rewards:
        if reward.within is None:
            said.append(f"By {reward.name}, all self-edits of a document are equal.")
            continue
        wanted = f"no number of seeds makes it {TARGET}" if reward.wanted is None else f"{TARGET} takes {plural(reward.wanted, 'seed')}"
        said.append(f"One seed of {reward.name} has a reliability of {reward.within.mean:.2f} within documents; {wanted}.")
    chosen = next((reward for reward in trust.rewards if reward.name == trust.reward), None)
    if chosen and chosen.best and chosen.best[0].true:
        first, true = chosen.best[0], chosen.best[0].true
        assert true is not None
        gains = f"looks {signed(first.apparent.mean)} better than a random one, and is {signed(true.mean)}"
        said.append(f"The best self-edit by one seed of {chosen.name} {gains}.")
    gained = {reward.name: gain for reward in trust.rewards for gain in reward.in_answers[:1] if gain}
    if worth := ", ".join(f"{points(gain.mean)} points by {name} ({points_range(gain)})" for name, gain in gained.items()):
        said.append(f"In correct answers, by the other seeds, the best by one seed is worth {worth}.")
    return " ".join([*said, *_warning(trust)])


def _warning(trust: Trust) -> list[str]:
    """Reliable is not yet valid: a likelihood that falls where correct answers rise measures the form of the answers."""
    means = {reward.name: reward.mean for reward in trust.rewards}
    if means.get("likelihood", 0.0) >= 0 or means.get("correctness", 0.0) <= trust.base:
        return []
    rise = f"from {percent(trust.base)} to {percent(means['correctness'])}"
    return [
        f"Take care: training made the gold answers less likely ({signed(means['likelihood'])} nats a token) while correct answers went {rise}. The "
        "self-edits teach another form of answer than the gold ones have, whole sentences perhaps, and likelihood measures that."
    ]


# ---------------------------------------------------------------- for programs


def as_json(trust: Trust) -> str:
    """All of it in one line; what could not be measured is null, and so is a bound of an interval that there is none of."""
    return json.dumps(plain(asdict(trust)), allow_nan=False)
