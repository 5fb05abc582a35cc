"""The policy of edit vectors where the best edit is known.

1. The gradient's mean is that of a quadratic reward, within 4 standard errors, and with pairs a constant part of the reward changes nothing at all.
2. Every algorithm for vectors finds the optimum of the quadratic; with the decay it is the ridge optimum.
3. No update goes further than its limit, and edits are no longer than theirs.
4. Rewards that say nothing leave the mean within the 99 % band of a random walk.
5. Where only one layer matters, the gate opens it and closes others.
6. Where two kinds of context want two edits, the policy learns both, which no single edit can.
7. Contexts are told apart by where they differ, and one unlike all others goes no further than the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from selfedit import parts
from selfedit.algorithms import Algorithm
from selfedit.vectors import gaussian, reading
from selfedit.vectors.gaussian import Array, Draws, Gaussian, Learned, Schedule, Weigh

D = 6
RNG = np.random.default_rng(0)
ROOT = RNG.standard_normal((D, D))
H = ROOT @ ROOT.T / D + np.eye(D)
BEST = RNG.standard_normal(D) / 2
ALWAYS = np.ones(1)


def quadratic(a: Array, best: Array = BEST) -> float:
    return float(-0.5 * (a - best) @ H @ (a - best))


def rewarded(drawn: Draws, reward: Callable[[Array], float]) -> Draws:
    return replace(drawn, rewards=np.array([reward(one) for one in drawn.edits]))


def algorithm(name: str) -> Algorithm:
    parts.load()
    entry = parts.KINDS["algorithm"].get(name)
    found: Algorithm = entry.build(entry.settings())
    return found


REINFORCE: Weigh = algorithm("reinforce").weigh


def learned(
    name: str, rounds: int, schedule: Schedule, contexts: list[tuple[Array, Callable[[Array], float]]], number: int = 16, layers: int = 0, d: int = D
) -> Learned:
    one, now = algorithm(name), gaussian.begin(d, len(contexts[0][0]), schedule.sigma, layers)
    for n in range(rounds):
        groups = [rewarded(gaussian.draw(now.policy, phi, number, 1000 * n + i), reward) for i, (phi, reward) in enumerate(contexts)]
        now = gaussian.update(now, groups, one.weigh, one.passes, schedule, n / (rounds - 1))
    return now


@pytest.mark.parametrize("paired", [True, False])
def test_the_gradient(paired: bool) -> None:  # promise 1
    policy = Gaussian(RNG.standard_normal((D, 1)), 0.3)
    found = []
    for seed in range(2000):
        drawn = gaussian.draw(policy, ALWAYS, 6, seed) if paired else alone(policy, 6, seed)
        found.append(gaussian.gradient(policy, policy, [rewarded(drawn, quadratic)], REINFORCE).mean[:, 0])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0) / len(found) ** 0.5
    assert (np.abs(mean + H @ (policy.mean[:, 0] - BEST)) < 4 * error).all()


def alone(policy: Gaussian, number: int, seed: int) -> Draws:
    """Independent draws, as a gate needs them; the gate itself left out."""
    return replace(gaussian.draw(replace(policy, gate=np.zeros((1, 1))), ALWAYS, number, seed), open=np.zeros((number, 0)))


def test_pairs_know_no_constant() -> None:  # promise 1
    policy = Gaussian(np.zeros((D, 1)), 0.3)
    drawn = gaussian.draw(policy, ALWAYS, 8, 0)
    assert (gaussian.gradient(policy, policy, [rewarded(drawn, lambda a: 7.0)], REINFORCE).mean == 0).all()
    assert (drawn.actions[::2] + drawn.actions[1::2] == 0).all()
    missing = replace(rewarded(drawn, quadratic), rewards=np.array([1.0, np.nan] + [0.0] * 6))
    assert np.isnan(gaussian.advantages(missing)[:2]).all() and (gaussian.gradient(policy, policy, [missing], REINFORCE).mean == 0).all()


@pytest.mark.parametrize("name", ["reinforce", "ppo", "es"])
def test_the_optimum_is_reached(name: str) -> None:  # promise 2
    found = learned(name, 150, Schedule(0.1, 0.06, 10.0), [(ALWAYS, quadratic)]).policy.mean[:, 0]
    assert quadratic(found) > 0.01 * quadratic(np.zeros(D)), quadratic(found)


def test_the_decay_leads_to_the_ridge_optimum() -> None:  # promise 2
    schedule = Schedule(0.1, 0.04, 10.0, anchor=0.01)
    found = learned("reinforce", 300, schedule, [(ALWAYS, quadratic)], number=64).policy.mean[:, 0]
    ridge = np.linalg.solve(H + 0.01 / 0.1**2 * np.eye(D), H @ BEST)
    assert np.linalg.norm(found - ridge) < 0.1 * np.linalg.norm(BEST - ridge)


def test_limits() -> None:  # promise 3
    now, schedule = gaussian.begin(D, 1, 0.1), Schedule(0.1, 0.5, 0.3)
    for n in range(5):
        before, now = now, gaussian.update(now, [rewarded(gaussian.draw(now.policy, ALWAYS, 8, n), quadratic)], REINFORCE, 1, schedule, n / 4)
        moved = (now.policy.mean - before.policy.mean) / before.policy.sigma
        assert 0.5 * float((moved**2).sum()) == pytest.approx(now.kl) and now.kl <= 0.3 * (1 + 1e-9)
    assert now.policy.sigma == pytest.approx(0.025)
    assert np.linalg.norm(gaussian.limited(np.full(9, 4.0), 2.0)) == pytest.approx(2.0)
    assert (gaussian.limited(np.full(9, 0.1), 2.0) == 0.1).all()


def test_noise_teaches_a_random_walk() -> None:  # promise 4
    """Adam's steps have no drift where rewards do not depend on edits: the end lies where a walk of that many independent signs would."""
    schedule, rounds, ends = Schedule(0.1, 0.06, 10.0), 40, []
    for seed in range(12):
        now, shuffled = gaussian.begin(D, 1, 0.1), np.random.default_rng(seed)
        for n in range(rounds):
            drawn = rewarded(gaussian.draw(now.policy, ALWAYS, 8, 100 * seed + n), quadratic)
            permuted = replace(drawn, rewards=shuffled.permutation(drawn.rewards))
            now = gaussian.update(now, [permuted], REINFORCE, 1, schedule, n / (rounds - 1))
        ends.append(now.policy.mean[:, 0])
    # a step is lr · pace · m̂ / √v̂; the memory of m̂ makes neighbours alike, but its sum is that of independent terms of variance about 1
    spread = 0.06 * sum(0.25 ** (2 * n / (rounds - 1)) for n in range(rounds)) ** 0.5
    z = np.concatenate(ends) / spread
    assert np.abs(z).max() < 3.9 and abs(z.mean()) < 2.6 / len(z) ** 0.5 * 1.2  # 99 % for 72 of them


def test_the_gate_finds_the_layer() -> None:  # promise 5
    best = np.array([0.0, 0.0, 0.4, 0.4, 0.0, 0.0])  # of three layers with two numbers each

    def reward(edit: Array) -> float:
        return float(4 * (best @ best - (edit - best) @ (edit - best))) - 0.05 * sum(bool(edit[i : i + 2].any()) for i in (0, 2, 4))

    policy = learned("reinforce", 120, Schedule(0.1, 0.06, 10.0), [(ALWAYS, reward)], layers=3).policy
    chances = policy.chances(ALWAYS)
    assert chances[1] > 0.9 and max(chances[0], chances[2]) < 0.3, chances
    found = policy.likeliest(ALWAYS)
    assert (found[[0, 1, 4, 5]] == 0).all() and np.abs(found[2:4] - 0.4).max() < 0.15


def test_two_kinds_of_context() -> None:  # promise 6
    first, second = BEST, -BEST
    contexts = [(np.array([1.0, x]), lambda a, b=b: quadratic(a, b)) for x, b in ((1.0, first), (-1.0, second))]
    policy = learned("reinforce", 150, Schedule(0.1, 0.06, 10.0), contexts).policy
    regret = -np.mean([reward(policy.mu(phi)) for phi, reward in contexts])
    best_single = -np.mean([quadratic(np.zeros(D), first), quadratic(np.zeros(D), second)])  # the optimum of one edit for both is 0
    assert regret < 0.05 * best_single


def test_reading() -> None:  # promise 7
    rng = np.random.default_rng(1)
    kinds = np.repeat([1.0, -1.0], 8)
    read = (10 * kinds[:, None] * rng.standard_normal(20) + rng.standard_normal((16, 20))).tolist()
    found = reading.fit(read, 3)
    features = np.array([found.features(one) for one in read])
    assert features.shape == (16, 4) and (features[:, 0] == 1).all()
    assert abs(np.corrcoef(features[:, 1], kinds)[0, 1]) > 0.99
    assert np.allclose((features[:, 1:] ** 2).sum(1).mean(), 1, atol=0.1)
    assert np.abs(found.features([1e6] * 20)[1:]).max() <= 3 / 3**0.5 + 1e-9
    assert len(reading.fit(read, 0).features(read[0])) == 1 == len(reading.fit(read[:1], 8).features(read[0]))
