"""Intervals: numbers worked by hand, honesty where there is little to see, and simulated coverage."""

import math

import numpy as np
import pytest

from selfedit.study import statistics as stats
from selfedit.study.statistics import interval, paired_difference


def test_all_wrong_is_wilsons_interval() -> None:
    """0 of 10: Wilson's upper bound is z^2 / (n + z^2) = 3.8415 / 13.8415."""
    of = interval([[0, 0], [0] * 8])
    assert (of.mean, of.low, of.n) == (0, 0, 10)
    assert of.high == pytest.approx(0.27753, abs=1e-5)
    assert interval([[1] * 10]).low == pytest.approx(1 - 0.27753, abs=1e-5)


def test_one_task_of_answers_is_wilsons_or_wider() -> None:
    """8 of 10: (0.8 + z^2/20 -+ z sqrt(0.016 + z^2/400)) / (1 + z^2/10) = 0.4902, 0.9433."""
    of = interval([[1] * 8 + [0] * 2])
    assert of.low <= 0.4902 and of.high >= 0.9433
    assert of.low == pytest.approx(0.4902, abs=0.05) and of.high == pytest.approx(0.9433, abs=0.06)


def test_many_equal_tasks_come_near_the_normal_interval() -> None:
    """200 tasks of one answer, half right: 0.5 -+ 1.96 sqrt(0.25 / 200) = 0.4307, 0.5693."""
    of = interval([[float(number % 2)] for number in range(200)])
    assert of.mean == 0.5
    assert (of.low, of.high) == (pytest.approx(0.4307, abs=0.01), pytest.approx(0.5693, abs=0.01))


def test_answers_of_a_task_are_not_independent() -> None:
    """All questions of a task alike: as wide as one answer a task, not as ten."""
    single, tenfold = interval([[float(n % 2)] for n in range(40)]), interval([[float(n % 2)] * 10 for n in range(40)])
    assert tenfold.high - tenfold.low == pytest.approx(single.high - single.low, rel=0.05)
    assert tenfold.n == 400


def test_mean_is_over_answers_not_tasks() -> None:
    assert interval([[1.0], [0.0, 0.0, 0.0]]).mean == 0.25


def test_two_tasks_of_floats_take_students_t() -> None:
    """Means 0 and 2: 1 -+ 12.706 * 1."""
    of = interval([[0.0], [2.0 + 1e-12]])
    assert (of.low, of.high) == (pytest.approx(1 - 12.706), pytest.approx(1 + 12.706))


def test_a_single_value_has_no_interval() -> None:
    assert interval([[0.37]]).low == -math.inf
    assert interval([[1]]).high == 1 and interval([[1]]).low == pytest.approx(1 / (1 + stats.Z**2))


def test_nothing_measured_is_an_error() -> None:
    for groups in ([], [[], []]):
        with pytest.raises(ValueError, match="no values"):
            interval(groups)
    with pytest.raises(ValueError, match="finite"):
        interval([[math.nan]])


def test_equal_arms_are_not_equal_for_certain() -> None:
    """Agresti-Min with no discordant pair of 8: -+ z / 10."""
    of = paired_difference([[1, 0, 1, 0]] * 2, [[1, 0, 1, 0]] * 2)
    assert of.mean == 0 and (of.low, of.high) == (pytest.approx(-stats.Z / 10), pytest.approx(stats.Z / 10))


def test_pairing_removes_what_both_arms_share() -> None:
    rng = np.random.default_rng(0)
    over = [list(rng.normal(task, 0.01, 3)) for task in range(10)]
    of = [[value + 0.5 for value in task] for task in over]
    difference = paired_difference(of, over)
    assert difference.mean == pytest.approx(0.5) and difference.high - difference.low < 1e-9
    assert interval(of).high - interval(of).low > 1


def test_arms_must_match() -> None:
    with pytest.raises(ValueError):
        paired_difference([[1, 0]], [[1]])
    with pytest.raises(ValueError):
        paired_difference([[1, 0]], [[1, 0], [1]])


def test_same_seed_same_interval() -> None:
    groups = [list(row) for row in np.random.default_rng(0).normal(size=(7, 3))]
    assert interval(groups, seed=3) == interval(groups, seed=3) != interval(groups, seed=4)


def test_t_quantiles_as_tabled() -> None:
    for freedom, tabled in {1: 12.706, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042}.items():
        assert stats._t_quantile(freedom) == pytest.approx(tabled, rel=3e-3)


@pytest.mark.parametrize("tasks", [2, 3, 5, 12])
@pytest.mark.parametrize("kind", ["answers", "values"])
def test_coverage(monkeypatch: pytest.MonkeyPatch, tasks: int, kind: str) -> None:
    """A 95 % interval holds the truth in about 95 of 100 experiments, tasks differing in difficulty (Beta(2, 3); mean 0.4)."""
    monkeypatch.setattr(stats, "RESAMPLES", 1000)
    rng, held = np.random.default_rng(tasks), 0
    for seed in range(200):
        if kind == "answers":
            groups, truth = [(rng.random(5) < rate).astype(float).tolist() for rate in rng.beta(2, 3, tasks)], 0.4
        else:
            groups, truth = [(rng.normal() + rng.normal(size=5)).tolist() for _ in range(tasks)], 0.0
        of = interval(groups, seed)
        held += of.low <= truth <= of.high
    assert 0.87 <= held / 200 <= 1


def test_seeds_make_a_question_surer_not_more() -> None:
    assert stats.over_seeds([[1, 0, 1], [1, 0, 0]]) == [1, 0, 0.5]
    assert stats.over_seeds([]) == []
    with pytest.raises(ValueError, match="shorter"):
        stats.over_seeds([[1, 0], [1]])
    alike = [[1, 0, 1, 0], [0, 0, 1, 0]]
    assert interval([stats.over_seeds([group] * 3) for group in alike]) == interval(alike)


def test_means_over_seeds_are_not_certain_either() -> None:
    """Where nothing varies, no more is known than of one answer a question; where it does, of as many as vary like it: two seeds, twice as many."""
    nothing = [[0.0, 0.0]] * 10
    assert paired_difference([[0.5, 0.5]] * 10, [[0.5, 0.5]] * 10) == paired_difference(nothing, nothing)
    assert paired_difference(nothing, nothing).high > 0.05
    twice = [0.0, 0.5, 0.5, 1.0]  # of two seeds that know nothing of each other
    assert stats._wilson(np.array(twice)) == pytest.approx(stats._wilson(np.array([0.0, 1.0] * 4)))
    assert stats._agresti_min(np.array(twice) - 0.5) == pytest.approx(stats._agresti_min(np.array([-1.0, 1.0] + [0.0] * 6)))


@pytest.mark.parametrize("share", [0.003, 0.02])
def test_coverage_of_rare_answers_over_seeds(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 400)
    rng, held = np.random.default_rng(5), 0
    for _ in range(200):
        found = interval([stats.over_seeds((rng.random((3, 6)) < share).astype(float).tolist()) for _ in range(40)])
        held += found.low <= share <= found.high
    assert held / 200 >= 0.93


@pytest.mark.parametrize("tasks", [6, 30])
def test_coverage_of_differences_over_seeds(monkeypatch: pytest.MonkeyPatch, tasks: int) -> None:
    """Two rows with three questions a task; what an row gains differs by task, and every seed writes and trains anew."""
    monkeypatch.setattr(stats, "RESAMPLES", 400)
    rng = np.random.default_rng(3)
    hits, widths = {1: 0, 3: 0}, {1: 0.0, 3: 0.0}
    for _ in range(RUNS := 300):
        of_T = np.clip(0.5 + 0.15 * rng.standard_normal(tasks), 0.02, 0.98)
        for seeds in hits:
            rows = [[stats.over_seeds((rng.random((seeds, 3)) < p).astype(float).tolist()) for p in p_T] for p_T in (of_T, np.full(tasks, 0.3))]
            found = paired_difference(rows[0], rows[1])
            hits[seeds] += found.low <= 0.2 <= found.high
            widths[seeds] += (found.high - found.low) / RUNS
    assert all(hit / RUNS >= 0.91 for hit in hits.values()), hits
    assert widths[3] < 0.8 * widths[1]


def test_means_are_told_from_zero_together() -> None:
    """By hand: of six tasks that agree, 2 of 2^6 flips go as far; another mean, of chance, only makes it harder."""
    assert stats.max_t_pvalues([[1.0] * 6]) == [2 / 64] and stats.max_t_pvalues([[1.0] * 5]) == [2 / 32]
    sure, unsure = stats.max_t_pvalues([[2.0, 3.0, 2.0, 3.0, 2.0, 3.0, 2.0], [1.0, -1.0, 1.0, -1.0, 0.5, None, 0.0]])
    assert 2 / 128 <= sure < 0.05 < unsure
    assert stats.max_t_pvalues([[0.0, 0.0], [None, None]]) == [1, 1]


@pytest.mark.parametrize("tasks", [8, 20])
def test_told_by_luck_in_one_of_twenty(monkeypatch: pytest.MonkeyPatch, tasks: int) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 500)
    rng = np.random.default_rng(1)
    told = sum(min(stats.max_t_pvalues(rng.normal(size=(10, tasks)).tolist())) < 0.05 for _ in range(300))
    assert told / 300 <= 0.09


def test_a_bound_of_zero_is_zero() -> None:
    """0.1 + 0.2 - 0.3 is 5.6e-17, and no reason to say that an interval leaves zero out."""
    found = stats._interval(np.array([0.05]), (0.1 + 0.2 - 0.3, 0.1))
    assert (found.low, found.high) == (0.0, 0.1)
