"""How far a reward can be trusted, from the same self-edits measured with several inner-loop seeds. Pure statistics.

Shapes: T tasks, K self-edits of a task (a group), S seeds. Groups may differ in K, never in S. What a reward cannot tell apart from the luck of one
training run, selection turns into a winner's curse: the best of K looks better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from selfedit.study import statistics as stats
from selfedit.types import Interval, Rating

Array = NDArray[np.float64]
Group = Array
"""Rewards of one task's self-edits, (K, S)."""
TIE = 9
"""Decimals to which rewards are compared, so that the order of a sum never decides; equal ones go to the lower index, as in selection."""

# ---------------------------------------------------------------- reliability


def icc(groups: Sequence[Group], *, within: bool, paired: bool = False) -> Interval | None:
    """Intraclass correlation of a single seed (Shrout & Fleiss 1979), with a 95 % bootstrap interval over tasks: ICC(1,1), or `paired` ICC(3,1).

    (MSB - MSW) / (MSB + (S - 1) MSW): MSB is the mean square between self-edits, MSW that between the seeds of a self-edit. `within` takes the
    self-edits about their task's mean, which is what the best of K is chosen by; otherwise about the mean of all, where easy tasks count as good
    edits. `paired`: the self-edits of a task have their seeds in common, and what a seed does to all of them alike is left out of MSW. `n` is the
    number of self-edits. None where all rewards are equal, or there are no two seeds or self-edits to compare.
    """
    groups = _comparable(groups, within or paired)
    value = single(groups, within=within, paired=paired)
    if value is None:
        return None
    (_, S), T, n = groups[0].shape, len(groups), sum(map(len, groups))
    if T == 1:
        return Interval(value, -math.inf, math.inf, n)
    sums_T_C = _sums(groups, paired)
    picks_R_T = np.random.default_rng(0).integers(0, T, size=(stats.RESAMPLES, T))
    drawn = _icc(np.array([sums_T_C[picks].sum(axis=0) for picks in picks_R_T]), S, within, paired)
    low, high = np.nanquantile(drawn, [stats.tail(T), 1 - stats.tail(T)])
    return Interval(value, min(value, float(low)), max(value, float(high)), n)


def single(groups: Sequence[Group], *, within: bool, paired: bool = False) -> float | None:
    """As `icc`, without the interval."""
    groups = _comparable(groups, within or paired)
    if len({group.shape[1] for group in groups}) > 1:
        raise ValueError("every self-edit needs the same number of seeds")
    if not groups or groups[0].shape[1] < 2 or sum(map(len, groups)) < 2:
        return None
    value = float(_icc(_sums(groups, paired).sum(axis=0), groups[0].shape[1], within, paired))
    return value if math.isfinite(value) else None


def _comparable(groups: Sequence[Group], several: bool) -> list[Group]:
    return [group for group in groups if len(group) >= (2 if several else 1)]


def _sums(groups: Sequence[Group], paired: bool) -> Array:
    """What the mean squares are made of, (T, C): self-edits, 1, sum and sum of squares of their means, squares of the groups' means, SSW."""
    centre = float(np.concatenate([group.ravel() for group in groups]).mean())
    rows = []
    for group in groups:
        means_K = group.mean(axis=1) - centre
        noise_K_S = group - group.mean(axis=1, keepdims=True)
        noise_K_S = noise_K_S - noise_K_S.mean(axis=0) if paired else noise_K_S
        rows.append([len(group), 1, means_K.sum(), (means_K**2).sum(), means_K.sum() ** 2 / len(group), (noise_K_S**2).sum()])
    return np.array(rows)


def _icc(sums: Array, S: int, within: bool, paired: bool) -> Array:
    """ICC(1,1) or, paired, ICC(3,1) from summed columns (..., C)."""
    K, groups, total, squares, of_groups, ssw = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        msb = S * (squares - of_groups) / (K - groups) if within else S * (squares - total**2 / K) / (K - 1)
        msw = ssw / ((K - groups if paired else K) * (S - 1))
        found: Array = (msb - msw) / (msb + (S - 1) * msw)
    return found


def spearman_brown(single: float, k: float) -> float:
    """Reliability of the mean of k seeds from that of one (Spearman 1910, Brown 1910): ICC(·,k) from ICC(·,1). Less than none counts as none."""
    single = max(0.0, single)
    return k * single / (1 + (k - 1) * single)


def seeds_for(single: float, target: float = 0.7) -> int | None:
    """The least number of seeds whose mean has the wanted reliability; None where no number has."""
    return max(1, math.ceil(target * (1 - single) / (single * (1 - target)) - 1e-9)) if single > 0 else None


# ---------------------------------------------------------------- the winner's curse


@dataclass(frozen=True, slots=True)
class BestOf:
    """The best of a group by the mean of `seeds` seeds, over a random one of the group: as the selecting seeds see it (`apparent`), and as the
    others do (`true`; None where none is left)."""

    seeds: int
    apparent: Interval
    true: Interval | None


def best_of(groups: Sequence[Group], seeds: int, scored: Sequence[Group] | None = None) -> BestOf:
    """Selected on every choice of `seeds` seeds and scored on the rest, by the same reward or another one of the same shapes (`scored`)."""
    pairs = [_selected(group, by, seeds) for group, by in zip(groups, groups if scored is None else scored, strict=True) if len(group) > 1]
    true = [gain for _, gain in pairs if gain is not None]
    return BestOf(seeds, _gain([gain for gain, _ in pairs]), _gain(true) if true else None)


def _gain(gains_T: Sequence[float]) -> Interval:
    return stats.interval([[gain] for gain in gains_T], shares=False)


def _selected(group: Group, by: Group, seeds: int) -> tuple[float, float | None]:
    S = group.shape[1]
    apparent, true = [], []
    for chosen in combinations(range(S), seeds):
        rest = [s for s in range(S) if s not in chosen]
        means_K = group[:, chosen].mean(axis=1)
        best = winner(means_K)
        seen_K = by[:, chosen].mean(axis=1)
        apparent.append(seen_K[best] - seen_K.mean())
        if rest:
            held_out_K = by[:, rest].mean(axis=1)
            true.append(held_out_K[best] - held_out_K.mean())
    return float(np.mean(apparent)), float(np.mean(true)) if true else None


def winner(rewards_K: Array) -> int:
    """The best; of equal ones the first."""
    return int(np.argmax(np.round(rewards_K, TIE)))


# ---------------------------------------------------------------- prefilters


@dataclass(frozen=True, slots=True)
class Survivors:
    """What is lost where only the `keep` best by a prefilter are trained in full.

    `same_winner` is the share of groups in which the best by the full reward (or one equal to it) is among them, `chance` that of a blind choice;
    `gain_kept` the share of the gain over a random self-edit that the best of them still has (None: there is no gain).
    """

    keep: int
    same_winner: Interval
    chance: float
    gain_kept: float | None


@dataclass(frozen=True, slots=True)
class Prefiltered:
    """A prefilter beside the full reward: Spearman's rank correlation within groups (their mean) and over all, and the survivors of each number."""

    within: Interval | None
    overall: float | None
    survivors: tuple[Survivors, ...]


def prefiltered(pairs: Sequence[Sequence[tuple[Array, Array]]]) -> Prefiltered:
    """For each task, one or more pairs of (full reward (K,), prefilter (K,)). Groups of one self-edit say nothing and are left out."""
    tasks = [found for pairs_of in pairs if (found := [(full, prefilter) for full, prefilter in pairs_of if len(full) > 1])]
    rhos = [[rho for full, prefilter in found if (rho := spearman(full, prefilter)) is not None] for found in tasks]
    every = [pair for found in tasks for pair in found]
    most = max((len(full) for full, _ in every), default=1)
    return Prefiltered(
        within=stats.interval(rhos, shares=False) if any(rhos) else None,
        overall=spearman(np.concatenate([f for f, _ in every]), np.concatenate([s for _, s in every])) if every else None,
        survivors=tuple(_survivors(tasks, keep) for keep in range(1, most)),
    )


def _survivors(tasks: Sequence[Sequence[tuple[Array, Array]]], keep: int) -> Survivors:
    same, chance, gained, possible = [], [], 0.0, 0.0
    for found in tasks:
        marks = []
        for full, prefilter in found:
            best, left = full.max(), full[order(prefilter)[:keep]].max()
            ties = int((np.round(full, TIE) == np.round(best, TIE)).sum())
            marks.append(float(np.round(left, TIE) == np.round(best, TIE)))
            chance.append(1 - math.comb(len(full) - ties, keep) / math.comb(len(full), min(keep, len(full))))
            gained += float(left - full.mean())
            possible += float(best - full.mean())
        same.append(marks)
    return Survivors(keep, stats.interval(same), float(np.mean(chance)), gained / possible if possible > 1e-12 else None)


def standings(ratings: Sequence[Rating]) -> dict[tuple[str, int, int], float]:
    """What the last rung that a self-edit reached said of it, by (task, round, index): moved up by rungs, so that a later one is always ahead."""
    values = [rating.value for rating in ratings if rating.value is not None]
    above = 1 + max(values) - min(values) if values else 0
    ahead = sorted((r.rung, r.task_id, r.round, r.index, r.value + r.rung * above) for r in ratings if r.value is not None)
    return {(task_id, round_, index): value for _, task_id, round_, index, value in ahead}


def order(values_K: Array) -> list[int]:
    """Indices from the best to the worst; equal ones by index, what was not measured (NaN) last."""
    keys = np.where(np.isnan(values_K), np.inf, -np.round(values_K, TIE))
    return [int(i) for i in np.argsort(keys, kind="stable")]


def spearman(x: Array, y: Array) -> float | None:
    """Rank correlation (Spearman 1904): Pearson's of the ranks, equal values sharing the mean of theirs. None where one side is all equal."""
    known = np.isfinite(x) & np.isfinite(y)
    a, b = _ranks(np.round(x[known], TIE)), _ranks(np.round(y[known], TIE))
    if len(a) < 2 or not (a.std() and b.std()):
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Array) -> Array:
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    ranks: Array = below + (equal + 1) / 2
    return ranks
