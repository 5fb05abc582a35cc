"""Confidence intervals over tasks. Questions of one task share a passage and an adapter, so what counts is the spread of tasks, not of answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from selfedit.types import Interval

RESAMPLES = 10_000
ROUNDING = 1e-12
Z = NormalDist().inv_cdf(0.975)
ALIKE = 10
"""Answers that one document can count for where all are alike, so that nothing shows how far documents differ: what any number of answers is worth
where their intraclass correlation is 0.1."""

Groups = Sequence[Sequence[float]]
"""Values of each task; tasks may differ in length."""


def interval(groups: Groups, seed: int = 0, *, shares: bool = True) -> Interval:
    """Mean of all values with a 95 % interval over tasks.

    Values within 0 and 1: Wilson's interval (1927) for as many independent answers as the spread between tasks is worth (their number over the
    design effect, Kish 1965), with Student's t over tasks for the normal quantile (Korn & Graubard 1998; compared by Dean & Pagano 2015). Where all
    values are alike there is no spread to go by, and the answers count as independent, at most `ALIKE` of a task. Of one task the values are taken
    for tasks: the interval says nothing about other tasks.

    Values of another kind, and such as may happen to lie within 0 and 1 (`shares` False): Student's t over tasks. From five tasks on the interval is
    also as wide as a cluster bootstrap over tasks (Cameron, Gelbach & Miller 2008; 10,000 resamples), which follows values that are skewed; its
    percentiles are moved outwards for the number of tasks (Hesterberg 2015). A single value has no interval (minus to plus infinity).

    Simulated coverage, 5 to 30 questions a task, tasks alike or differing up to an intraclass correlation of 1/3 (benchmarks/intervals.py): 93 to
    98 % from four tasks on, and from two with 30 questions. More is held, up to nearly all, where answers come in steps too large for less: with two
    or three tasks of few questions, and where less than one answer in twenty is right, or wrong. Less is held, down to 85 %, where such rare answers
    also gather in few of many tasks, so that most runs see none of these. Raises ValueError where there is no value at all.
    """
    filled = _filled(groups)
    values = np.concatenate(filled)
    within = shares and bool(((values >= 0) & (values <= 1)).all())
    return _interval(values, *([_wilson(filled)] if within else [_student(filled), _bootstrap(filled, seed)]))


def paired_difference(of: Groups, over: Groups, seed: int = 0) -> Interval:
    """Mean of `of` minus `over` on the same tasks and questions, with a 95 % interval over tasks, paired question by question.

    Student's t over tasks, from five on at least as wide as a bootstrap, as in `interval`; values within 0 and 1 differ by at most 1. Where all
    differences of such values are alike: Agresti & Min's (2005) interval for matched proportions, so that two rows that answered alike on few
    questions are not reported as equal for certain. Two rows that are equal on average are told apart in at most 5 % of cases, also where they
    differ from task to task. Raises ValueError where the two do not match in shape.
    """
    differences = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(of, over, strict=True)]
    filled = _filled(differences)
    values, within = np.concatenate(filled), all(0 <= value <= 1 for groups in (of, over) for group in groups for value in group)
    if not within:
        return _interval(values, _student(filled), _bootstrap(filled, seed))
    if _step(values) == 0:
        return _interval(values, _agresti_min(float(values.mean()), _at_most(filled)))
    blur = (0.2 if len(filled) < 4 else 0.35) * _step(values)  # the least that keeps false alarms at 5 %; few tasks multiply it by up to 12.7
    found = _interval(values, _student(filled, blur), _bootstrap(filled, seed))
    return replace(found, low=max(-1.0, found.low), high=min(1.0, found.high))


def over_seeds(values_S_Q: Sequence[Sequence[float]]) -> list[float]:
    """Mean over S seeds of each of a task's Q values.

    Seeds make the value of a question surer; they do not make more questions. Averaged first, they narrow an interval as far as chance in training
    and writing made it wide, and no further. A seed draws anew for every task, so that nothing but the task itself is common to answers: whole
    tasks, each with all its seeds, are what is to be resampled. Raises ValueError where seeds have different numbers of values.
    """
    return [sum(values_S) / len(values_S) for values_S in zip(*values_S_Q, strict=True)]


def max_t_pvalues(values_P_T: Sequence[Sequence[float | None]], seed: int = 0) -> list[float]:
    """p-values of P means over the same T tasks, held against zero together: with 0.05, one of all P is told from zero by luck in 5 % of cases.

    The signs of whole tasks are flipped (Fisher 1935; every way to do so up to 12 tasks, else 10,000 at random), and each mean is compared with the
    greatest of all P under every flip (single-step max-T, Westfall & Young 1993). None: a task has no value and says nothing of that mean. Below six
    tasks nothing can be told.
    """
    values = np.array([[0.0 if value is None else value for value in values_T] for values_T in values_P_T], dtype=np.float64)
    spread = np.sqrt((values**2).sum(axis=1, keepdims=True))
    scaled_P_T = np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
    T = scaled_P_T.shape[1]
    if T <= 12:
        flips_R_T = 1 - 2 * ((np.arange(2**T)[:, None] >> np.arange(T)) & 1)
    else:
        flips_R_T = 1 - 2 * np.random.default_rng(seed).integers(0, 2, size=(RESAMPLES, T))
        flips_R_T[0] = 1
    greatest_R = np.abs(flips_R_T @ scaled_P_T.T).max(axis=1)
    return [float((greatest_R >= found - 1e-9).mean()) for found in np.abs(scaled_P_T.sum(axis=1))]


Group = NDArray[np.float64]
Bounds = tuple[float, float]


def _filled(groups: Groups) -> list[Group]:
    """Groups as arrays, empty ones left out; the values of a single task stand for groups."""
    filled = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    if not filled:
        raise ValueError("no values to average")
    if not all(np.isfinite(group).all() for group in filled):
        raise ValueError("values must be finite; leave unscored answers out")
    return filled if len(filled) > 1 else [np.array([value]) for value in filled[0]]


def _bootstrap(groups: list[Group], seed: int) -> Bounds | None:
    """Percentiles of the ratio of resampled sums to resampled counts. None below five groups, of which too few samples can be made."""
    G = len(groups)
    if G < 5:
        return None
    sums_G = np.array([group.sum() for group in groups])
    counts_G = np.array([group.size for group in groups], dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = []
    for part in np.array_split(np.arange(RESAMPLES), max(1, RESAMPLES * G // 4_000_000)):
        picks_R_G = rng.integers(0, G, size=(part.size, G))
        means.append(sums_G[picks_R_G].sum(axis=1) / counts_G[picks_R_G].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [tail(G), 1 - tail(G)])
    return float(low), float(high)


def tail(groups: int) -> float:
    """The lower percentile of a 95 % bootstrap interval over so many tasks (at least 2), moved outwards for their number (Hesterberg 2015)."""
    return NormalDist().cdf(-math.sqrt(groups / (groups - 1)) * _t_quantile(groups - 1))


def _t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t: tabled up to 3 degrees of freedom, then Cornish-Fisher (Abramowitz & Stegun 26.7.5; within 0.3 %)."""
    if freedom <= 3:
        return (12.706, 4.303, 3.182)[freedom - 1]
    terms = (Z, (Z**3 + Z) / 4, (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96, (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384)
    return math.fsum(term / freedom**power for power, term in enumerate(terms))


def _student(groups: list[Group], blur: float = 0.0) -> Bounds:
    """Student's t interval from the spread of the tasks' sums about the common mean; of one task, minus to plus infinity."""
    if len(groups) == 1:
        return -math.inf, math.inf
    mean = float(np.concatenate(groups).mean())
    half = _t_quantile(len(groups) - 1) * math.sqrt(_variance(groups, blur))
    return mean - half, mean + half


def _variance(groups: list[Group], blur: float) -> float:
    """Of the common mean, from the spread of the tasks' sums about it (linearised ratio of sums to counts; at least two tasks).

    Sums move in steps, so that few tasks may look more alike than they are: `blur` is the standard deviation that is added to each.
    """
    G, values = len(groups), np.concatenate(groups)
    mean = values.mean()
    squares = sum(float((group - mean).sum()) ** 2 for group in groups)
    return (G / (G - 1) * squares + G * blur**2) / values.size**2


def _step(values: Group) -> float:
    """The smallest difference between two values: 1 for right or wrong, 1/S for means over S seeds; 0 where all are alike."""
    distinct = np.unique(values.round(9))
    return float(np.diff(distinct).min()) if distinct.size > 1 else 0.0


def _at_most(groups: list[Group]) -> int:
    """How many independent answers groups may count for where all values are alike."""
    return sum(min(group.size, ALIKE) for group in groups)


def _wilson(groups: list[Group]) -> Bounds:
    """Wilson's score interval for the mean of shares, by the spread between tasks."""
    values = np.concatenate(groups)
    share = float(values.mean())
    if _step(values) == 0 and (values.size > 1 or share in (0, 1)):
        return _score(share, _at_most(groups), Z)
    if len(groups) == 1:
        return -math.inf, math.inf
    if values.size == len(groups) and np.isin(values, (0.0, 1.0)).all():
        return _score(share, values.size, Z)  # an answer a task: nothing is clustered
    independent = share * (1 - share) / _variance(groups, 0.2 * _step(values))
    return _score(share, independent, _t_quantile(len(groups) - 1))


def _score(share: float, n: float, quantile: float) -> Bounds:
    """Wilson's score interval (1927) for a share of n independent answers."""
    z2 = quantile**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = quantile * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _agresti_min(mean: float, n: float) -> Bounds:
    """Wald's interval for n matched pairs that all differ by `mean`, after adding half an observation to each of the four cells."""
    b, c, m = n * (abs(mean) + mean) / 2 + 0.5, n * (abs(mean) - mean) / 2 + 0.5, n + 2
    half = Z * math.sqrt(b + c - (b - c) ** 2 / m) / m
    return max(-1.0, (b - c) / m - half), min(1.0, (b - c) / m + half)


def _interval(values: Group, *bounds: Bounds | None) -> Interval:
    """The smallest interval around all the bounds and the mean. A bound that is 0 but for the rounding of a sum is 0: it leaves nothing out."""
    mean = float(values.mean())
    known = [(mean, mean), *(pair for pair in bounds if pair)]
    low, high = (0.0 if abs(bound) < ROUNDING else bound for bound in (min(low for low, _ in known), max(high for _, high in known)))
    return Interval(mean=mean, low=low, high=high, n=values.size)
