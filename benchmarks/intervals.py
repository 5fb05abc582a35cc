"""How often a 95 % interval holds the truth, and how often equal rows are told apart: `python -m benchmarks.intervals [EXPERIMENTS]`, minutes.

The truths are made: tasks differ as Beta distributions do (mean, intraclass correlation), answers are drawn from them, and the mean over all tasks
there could be is what an interval has to hold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from selfedit.study import statistics as stats

EXPERIMENTS = 2000
RESAMPLES = 400
"""Enough for a percentile whose own chance is averaged out over the experiments."""
TASKS, QUESTIONS = (2, 3, 4, 6, 12), (5, 6, 30)
Rows = list[list[float]]


@dataclass(frozen=True)
class Truth:
    """A share of right answers, and how far tasks differ: intraclass correlation, 0 where all are alike."""

    mean: float
    correlation: float = 0.0

    def draw(self, rng: Generator, tasks: int) -> np.ndarray:
        """A share for each task."""
        if self.correlation == 0:
            return np.full(tasks, self.mean)
        size = 1 / self.correlation - 1
        return rng.beta(self.mean * size, (1 - self.mean) * size, tasks)


USUAL = (Truth(0.4), Truth(0.4, 0.05), Truth(0.4, 1 / 6), Truth(0.5), Truth(0.5, 1 / 3), Truth(0.2), Truth(0.2, 0.1))
RARE = (Truth(0.02), Truth(0.02, 0.05), Truth(0.05, 0.1), Truth(0.1, 1 / 6), Truth(0.95), Truth(0.98, 0.1))
F1 = np.array([1.0, 0.8, 2 / 3, 0.5, 0.4, 0.25, 0.2])
"""What an answer that shares words with the right one may score."""


def answers(rng: Generator, truth: Truth, tasks: int, questions: int) -> Rows:
    """Right or wrong."""
    return [(rng.random(questions) < share).astype(float).tolist() for share in truth.draw(rng, tasks)]


def over_seeds(rng: Generator, truth: Truth, tasks: int, questions: int, seeds: int = 3) -> Rows:
    """The share of three seeds that answer right."""
    return [(rng.binomial(seeds, share, questions) / seeds).tolist() for share in truth.draw(rng, tasks)]


def partly(rng: Generator, truth: Truth, tasks: int, questions: int) -> Rows:
    """F1: 0, or how much of the answer was said. Their mean is 0.546 of the truth."""
    return [np.where(rng.random(questions) < share, rng.choice(F1, questions), 0.0).tolist() for share in truth.draw(rng, tasks)]


def values(rng: Generator, truth: Truth, tasks: int, questions: int) -> Rows:
    """Normal values of any size about the mean."""
    between, within = np.sqrt(truth.correlation), np.sqrt(1 - truth.correlation)
    return [(truth.mean + between * rng.normal() + within * rng.normal(size=questions)).tolist() for _ in range(tasks)]


def rows(rng: Generator, truth: Truth, spread: float, tasks: int, questions: int, gain: float = 0.0) -> tuple[Rows, Rows]:
    """Two rows of answers whose shares differ by `gain`, and by task by as much more as a normal number of this spread, twice."""
    shares, effects = truth.draw(rng, tasks), spread * rng.standard_normal(tasks) + gain / 2
    return tuple([(rng.random(questions) < p).astype(float).tolist() for p in np.clip(shares + sign * effects, 0, 1)] for sign in (1, -1))  # type: ignore[return-value]


KINDS: dict[str, tuple[Callable[..., Rows], float]] = {"answers": (answers, 1), "seeds": (over_seeds, 1), "F1": (partly, float(F1.mean()))}


def coverage(kind: str, truth: Truth, tasks: int, questions: int, experiments: int, seed: int = 0) -> float:
    """The share of experiments whose interval holds the truth."""
    draw, scale = KINDS.get(kind, (values, 1))
    rng, held = np.random.default_rng(seed), 0
    for _ in range(experiments):
        found = stats.interval(draw(rng, truth, tasks, questions), shares=kind in KINDS)
        held += found.low <= scale * truth.mean <= found.high
    return held / experiments


def told_apart(truth: Truth, spread: float, tasks: int, questions: int, experiments: int, seed: int = 0, gain: float = 0.0) -> float:
    """The share of experiments whose interval of a paired difference leaves the truth out: with no gain, how often equal rows are told apart."""
    rng, out = np.random.default_rng(seed), 0
    for _ in range(experiments):
        found = stats.paired_difference(*rows(rng, truth, spread, tasks, questions, gain))
        out += not found.low <= gain <= found.high
    return out / experiments


def table(experiments: int) -> Iterator[str]:
    """Lines: a kind and a truth, then a figure for each number of tasks and questions."""
    yield f"{'held by intervals, %':40}" + "".join(f"{f'{t}x{q}':>7}" for t in TASKS for q in QUESTIONS)
    for kind in (*KINDS, "values"):
        for truth in (*USUAL, *(RARE if kind in KINDS else ())):
            held = [coverage(kind, truth, t, q, experiments) for t in TASKS for q in QUESTIONS]
            yield f"{f'{kind}, mean {truth.mean:g}, correlation {truth.correlation:.2f}':40}" + "".join(f"{100 * share:7.1f}" for share in held)
    yield f"{'told apart though equal, %':40}" + "".join(f"{f'{t}x{q}':>7}" for t in TASKS for q in QUESTIONS)
    for truth in (Truth(0.5, 1 / 7), Truth(0.5), Truth(0.1, 1 / 11)):
        for spread in (0.0, 0.1, 0.2) if truth.mean == 0.5 else (0.0,):  # where shares cannot be cut to 0 and 1 on one side only
            out = [told_apart(truth, spread, t, q, experiments) for t in TASKS for q in QUESTIONS]
            yield f"{f'mean {truth.mean:g}, correlation {truth.correlation:.2f}, effects {spread:g}':40}" + "".join(f"{100 * s:7.1f}" for s in out)


if __name__ == "__main__":
    stats.RESAMPLES = RESAMPLES
    for line in table(int(sys.argv[1]) if len(sys.argv) > 1 else EXPERIMENTS):
        print(line, flush=True)
