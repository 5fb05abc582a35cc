"""Confidence intervals over tasks. Questions of one task share a passage and an adapter, so whole tasks are resampled, never single answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from selfedit.types import Interval

RESAMPLES = 10_000
ROUNDING = 1e-12
Z = NormalDist().inv_cdf(0.975)

Groups = Sequence[Sequence[float]]
"""Values of each task; tasks may differ in length."""


def interval(groups: Groups, seed: int = 0, *, shares: bool = True) -> Interval:
    """Mean of all values with a 95 % percentile cluster bootstrap over tasks (Cameron, Gelbach & Miller 2008; 10,000 resamples).

    Two corrections keep it honest where there are few tasks. The percentiles are moved outwards for the number of tasks (Hesterberg 2015, "expanded
    percentile"). And for values within 0 and 1 the interval is never narrower than Wilson's (1927) for as many independent answers as vary like them,
    which is also all that is left where a bootstrap sees no variation: one task, all right or all wrong. Fewer than five tasks of values other than 0
    and 1 take Student's t over tasks as their outer bound; one task is taken by value and says nothing about other tasks; a single such value has no
    interval (minus to plus infinity).
    Values of another kind that may happen to be 0 or 1, such as gains, are told apart with `shares` False.
    Simulated coverage is 91 to 96 % from two tasks on (tests/unit/test_stats.py). Raises ValueError where there is no value at all.
    """
    filled = _filled(groups)
    values = np.concatenate(filled)
    binary, within = bool(np.isin(values, (0.0, 1.0)).all()), bool(((values >= 0) & (values <= 1)).all())
    outer = _wilson(values) if shares and within else None
    return _interval(values, _bootstrap(filled, seed), outer, None if shares and binary else _student(filled))


def paired_difference(of: Groups, over: Groups, seed: int = 0) -> Interval:
    """Mean of `of` minus `over` on the same tasks and questions, with a 95 % paired cluster bootstrap over tasks.

    As `interval`; for values within 0 and 1 the outer bound is Agresti & Min's (2005) interval for matched proportions, so that two rows that
    answered alike on few questions are not reported as equal for certain. Raises ValueError where the two do not match in shape.
    """
    differences = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(of, over, strict=True)]
    filled = _filled(differences)
    values, both = np.concatenate(filled), [value for groups in (of, over) for group in groups for value in group]
    outer = _agresti_min(values) if all(0 <= value <= 1 for value in both) else None
    return _interval(values, _bootstrap(filled, seed), outer, None if all(value in (0, 1) for value in both) else _student(filled))


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
    """Percentiles of the ratio of resampled sums to resampled counts. One group cannot be resampled."""
    G = len(groups)
    if G == 1:
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


def _student(groups: list[Group]) -> Bounds | None:
    """Student's t interval from the spread of the tasks' sums about the common mean. None from five tasks on, where the bootstrap suffices."""
    G, values = len(groups), np.concatenate(groups)
    if G == 1:
        return -math.inf, math.inf
    if G >= 5:
        return None
    mean = values.mean()
    spread = math.sqrt(G / (G - 1) * sum(float((group - mean).sum()) ** 2 for group in groups)) / values.size
    return float(mean) - _t_quantile(G - 1) * spread, float(mean) + _t_quantile(G - 1) * spread


def _wilson(values: Group) -> Bounds:
    """Wilson's score interval for the mean of shares."""
    share, z2 = float(values.mean()), Z**2
    n = _independent(values, share * (1 - share))
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def _agresti_min(differences: Group) -> Bounds:
    """Wald's interval for matched proportions after adding half an observation to each of the four cells."""
    mean, apart = float(differences.mean()), float(np.abs(differences).mean())
    n = _independent(differences, apart - mean**2)
    b, c, m = n * (apart + mean) / 2 + 0.5, n * (apart - mean) / 2 + 0.5, n + 2
    half = Z * math.sqrt(b + c - (b - c) ** 2 / m) / m
    return max(-1.0, (b - c) / m - half), min(1.0, (b - c) / m + half)


def _independent(values: Group, most: float) -> float:
    """How many single answers would vary as little on average: the variance of single answers, `most`, over the values' own, a value.

    One a value for single answers themselves; more for means over seeds, which vary less; one a value, too, where none varies.
    """
    own = float(values.var())
    return values.size * (most / own if own > ROUNDING else 1.0)


def _interval(values: Group, *bounds: Bounds | None) -> Interval:
    """The smallest interval around all the bounds and the mean. A bound that is 0 but for the rounding of a sum is 0: it leaves nothing out."""
    mean = float(values.mean())
    known = [(mean, mean), *(pair for pair in bounds if pair)]
    low, high = (0.0 if abs(bound) < ROUNDING else bound for bound in (min(low for low, _ in known), max(high for _, high in known)))
    return Interval(mean=mean, low=low, high=high, n=values.size)
