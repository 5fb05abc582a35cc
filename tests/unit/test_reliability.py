"""Reliability of rewards.

1. ICC(1,1), ICC(3,1) and their projections to k seeds are those of Shrout & Fleiss (1979), and of numbers worked by hand, within tasks and over all.
2. Rewards that are signal alone have 1, rewards that are noise alone have an interval around 0; where nothing can be said, nothing is.
3. Bootstrap intervals over tasks hold the true value about as often as they say.
4. Spearman-Brown, and the seeds that a target takes, by hand.
5. The best of K: by hand, and on pure noise no true gain however large the apparent one.
6. On the rewards that SEAL's authors released: 0.32 within passages for the mean of three seeds, and the best of 5 that looks like 40 -> 54 is 42.7.
7. Prefilters: ranks with ties, survivors, chance and the gain that is kept, by hand.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from selfedit.study.reliability import best_of, icc, order, prefiltered, seeds_for, spearman, spearman_brown, winner

RELEASED = Path(__file__).parents[2].parent / "shared" / "data" / "seal_round0_rewards.json.gz"
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)
"""Their table 2: six targets rated by four judges. Table 4 has ICC(1,1) .17, ICC(3,1) .71, ICC(1,4) .44 and ICC(3,4) .91."""


def test_shrout_and_fleiss() -> None:  # promise 1
    for within in (True, False):
        found = icc([SHROUT_FLEISS], within=within)
        assert found is not None and found.mean == pytest.approx(0.166, abs=5e-4) and found.n == 6
        assert spearman_brown(found.mean, 4) == pytest.approx(0.443, abs=5e-4)
        assert found.low == -np.inf and found.high == np.inf  # one task says nothing about others
    paired = icc([SHROUT_FLEISS], within=True, paired=True)
    assert paired is not None and paired.mean == pytest.approx(0.715, abs=5e-4) and spearman_brown(paired.mean, 4) == pytest.approx(0.909, abs=5e-4)


def test_by_hand_within_and_over_all() -> None:  # promise 1
    """Two tasks of two self-edits with two seeds. Means 1, 3 and 11, 13; every self-edit has its seeds at -+1.

    MSW = 8 / 4 = 2. Within: MSB = 2 (1 + 1 + 1 + 1) / 2 = 4, so (4 - 2) / (4 + 2) = 1/3.
    Over all: about 7 the means are -6, -4, 4, 6, so MSB = 2 * 104 / 3 = 208/3, and (208/3 - 2) / (208/3 + 2) = 202/214.
    """
    groups = [np.array([[0.0, 2.0], [2.0, 4.0]]), np.array([[10.0, 12.0], [12.0, 14.0]])]
    within, over_all = icc(groups, within=True), icc(groups, within=False)
    assert within is not None and within.mean == pytest.approx(1 / 3) and within.low == within.high == pytest.approx(1 / 3)  # both tasks are alike
    assert over_all is not None and over_all.mean == pytest.approx(202 / 214)
    paired = icc(groups, within=True, paired=True)  # the second seed is better by 2 for all: no noise is left
    assert paired is not None and paired.mean == pytest.approx(1)


def test_signal_noise_and_nothing() -> None:  # promise 2
    rng = np.random.default_rng(2)
    signal = [np.repeat(rng.normal(size=(4, 1)), 3, axis=1) for _ in range(20)]
    noise = [rng.normal(size=(4, 3)) for _ in range(100)]
    found = icc(signal, within=True)
    assert found is not None and found.mean == pytest.approx(1)
    found = icc(noise, within=True)
    assert found is not None and found.low < 0 < found.high and abs(found.mean) < 0.15
    assert icc([np.ones((3, 2))] * 4, within=True) is None  # all equal
    assert icc([rng.normal(size=(3, 1))], within=True) is None and icc([], within=False) is None
    assert icc([rng.normal(size=(1, 3))] * 4, within=True) is None and icc([rng.normal(size=(1, 3))] * 4, within=False) is not None
    with pytest.raises(ValueError, match="same number of seeds"):
        icc([rng.normal(size=(3, 2)), rng.normal(size=(3, 3))], within=True)


def test_the_interval_covers() -> None:  # promise 3
    """True ICC(1,1) 0.5: equal variance between and within. 100 experiments of 12 tasks, of which 95 should cover."""
    rng, covered = np.random.default_rng(7), 0
    for _ in range(100):
        groups = [rng.normal() * 3 + rng.normal(size=(4, 1)) + rng.normal(size=(4, 3)) for _ in range(12)]
        found = icc(groups, within=True)
        assert found is not None
        covered += found.low <= 0.5 <= found.high
    assert covered >= 88


def test_spearman_brown() -> None:  # promise 4
    assert spearman_brown(0.5, 2) == pytest.approx(2 / 3) and spearman_brown(0.3, 1) == pytest.approx(0.3) and spearman_brown(-0.4, 9) == 0
    assert seeds_for(0.7) == 1 and seeds_for(0.5) == 3 and seeds_for(0.134) == 16 and seeds_for(0.0) is None
    for single in (0.05, 0.2, 0.45):
        seeds = seeds_for(single)
        assert seeds is not None and spearman_brown(single, seeds) >= 0.7 > spearman_brown(single, seeds - 1)


def test_best_of_by_hand() -> None:  # promise 5
    """Self-edits A: 1, 0 and B: 0, 1/2. By the first seed A is best: looks like +1/2, is -1/4. By the second B: looks like +1/4, is -1/2."""
    found = best_of([np.array([[1.0, 0.0], [0.0, 0.5]])], 1)
    assert found.apparent.mean == pytest.approx(3 / 8) and found.true is not None and found.true.mean == pytest.approx(-3 / 8)
    whole = best_of([np.array([[1.0, 0.0], [0.0, 0.5]])], 2)
    assert whole.apparent.mean == pytest.approx(1 / 8) and whole.true is None
    nothing = best_of([np.ones((2, 2))] * 5, 1).apparent  # gains are no shares: no gain anywhere is none
    assert (nothing.mean, nothing.low, nothing.high) == (0, 0, 0)
    other = best_of([np.array([[1.0, 0.0], [0.0, 0.5]])], 1, scored=[np.array([[4.0, 4.0], [0.0, 0.0]])])
    assert other.true is not None and other.true.mean == pytest.approx(0)  # A once and B once: +2 and -2


def test_noise_has_no_true_gain() -> None:  # promise 5
    rng = np.random.default_rng(3)
    found = best_of([rng.normal(size=(5, 4)) for _ in range(300)], 2)
    assert found.apparent.low > 0.6 and found.true is not None and found.true.low < 0 < found.true.high


def released() -> list[np.ndarray]:
    """Accuracy of every adapter of the authors' first round: 50 passages of (5 self-edits, 3 seeds)."""
    if not RELEASED.exists():
        pytest.skip(f"{RELEASED} is not there")
    articles = json.loads(gzip.decompress(RELEASED.read_bytes()))["articles"]
    return [np.array([[accuracy(edit["questions"], seed) for seed in range(3)] for edit in a["completions"]]) for a in articles]


def accuracy(questions: list[dict[str, object]], seed: int) -> float:
    return float(np.mean([bool(question["adapter_correct"]) for question in questions if question["rep"] == seed]))


def test_the_authors_rewards() -> None:  # promise 6
    groups = released()
    within, over_all = icc(groups, within=True), icc(groups, within=False)
    assert within is not None and over_all is not None
    assert spearman_brown(within.mean, 3) == pytest.approx(0.318, abs=5e-4) and within.mean == pytest.approx(0.134, abs=5e-4)
    assert spearman_brown(over_all.mean, 3) == pytest.approx(0.753, abs=5e-4)  # passages differ more than their self-edits do
    mean = float(np.mean(groups))
    assert 100 * mean == pytest.approx(40.2, abs=0.05)
    assert 100 * (mean + best_of(groups, 3).apparent.mean) == pytest.approx(54.3, abs=0.05)
    for seeds in (1, 2):
        true = best_of(groups, seeds).true
        assert true is not None and 100 * (mean + true.mean) == pytest.approx(42.7, abs=0.05)
    assert seeds_for(within.mean) == 16


def test_ranks() -> None:  # promise 7
    x = np.array([1.0, 2.0, 2.0, 4.0])
    assert spearman(x, np.array([10.0, 20.0, 30.0, 40.0])) == pytest.approx(4.5 / (5 * 4.5) ** 0.5)  # ranks 1, 2.5, 2.5, 4 against 1 to 4
    assert spearman(x, -x) == pytest.approx(-1) and spearman(x, np.ones(4)) is None
    assert spearman(np.array([1.0, 2.0, np.nan]), np.array([5.0, 9.0, 1.0])) == pytest.approx(1)
    assert order(np.array([0.1, np.nan, 0.3, 0.3 + 1e-12])) == [2, 3, 0, 1] and winner(np.array([0.3, 0.3 + 1e-12])) == 0


def test_survivors() -> None:  # promise 7
    """First task: the best is second by the prefilter. Second task: two equal best ones, of which the prefilter puts one first."""
    first = (np.array([0.0, 3.0, 1.0, 0.0]), np.array([1.0, 2.0, 3.0, 0.0]))
    second = (np.array([2.0, 2.0, 0.0, 0.0]), np.array([9.0, 1.0, 2.0, 3.0]))
    found = prefiltered([[first], [second], [(np.array([1.0]), np.array([1.0]))]])
    one, two, three = found.survivors
    assert [s.same_winner.mean for s in (one, two, three)] == [0.5, 1, 1]
    assert one.chance == pytest.approx((1 / 4 + 1 / 2) / 2) and two.chance == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert one.gain_kept == pytest.approx((0 + 1) / (2 + 1)) and two.gain_kept == pytest.approx(1)
    assert found.within is not None and found.within.n == 2
    assert found.within.mean == pytest.approx((spearman(*first) + spearman(*second)) / 2)  # type: ignore[operator]
