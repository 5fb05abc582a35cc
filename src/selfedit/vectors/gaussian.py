"""The policy of edit vectors: a Gaussian whose mean is a linear map of how the model reads the context, and its policy gradient.

An edit of d numbers is a = μ(C) + σ ε with ε ~ N(0, I) and μ(C) = M φ(C) (parameter-exploring policy gradients: Sehnke et al. 2010). With a gate,
each layer is switched on with the probability sigmoid(G φ(C)). Shapes: d numbers of an edit, F features of a context, L layers, K draws a context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
BETA1, BETA2, EPS = 0.9, 0.99, 1e-8
"""Of Adam (Kingma and Ba 2015): a shorter memory of squares than usual, because there are few updates."""
LEAST = 0.25
"""σ and the learning rate fall to this share by the last round."""
GATE_STEP = 5.0
"""How much faster logits of the gate move than means: they have to go further."""
Weigh = Callable[[Sequence[float], Sequence[float], Sequence[float]], Sequence[float]]
"""An algorithm: from rewards, advantages and ratios of new to old probability, one each a draw, to how far each draw's log-probability is raised."""


@dataclass(frozen=True)
class Gaussian:
    """`mean` M (d, F); `sigma` of every number; `gate` G (L, F), None where every layer is always on."""

    mean: Array
    sigma: float
    gate: Array | None = None

    def mu(self, features: Array) -> Array:
        """The mean edit (d,) of a context with these features (F,)."""
        return self.mean @ features

    def chances(self, features: Array) -> Array:
        """How likely each layer is on, (L,); nothing without a gate."""
        return np.zeros(0) if self.gate is None else 1 / (1 + np.exp(-(self.gate @ features)))

    def likeliest(self, features: Array) -> Array:
        """The edit (d,) that is used once nothing is tried out any more: the mean, in the layers that are on more often than not."""
        mean = self.mu(features)
        return mean if self.gate is None else mean * _spread((self.chances(features) >= 0.5).astype(np.float64), len(mean))


@dataclass(frozen=True)
class Draws:
    """What was drawn for one context with `features` (F,): `actions` (K, d), and with a gate `open` (K, L), else (K, 0).

    `rewards` (K,) has NaN for what could not be scored. `paired`: draws 2p and 2p + 1 are μ ± σ ε (antithetic), and answered the same questions.
    """

    features: Array
    actions: Array
    open: Array
    rewards: Array
    paired: bool

    @property
    def edits(self) -> Array:
        """The actions with closed layers at zero, (K, d)."""
        return self.actions * _spread(self.open, self.actions.shape[1]) if self.open.size else self.actions


def _spread(layers: Array, d: int) -> Array:
    """From one value a layer to one a number of the edit."""
    return np.repeat(layers, d // layers.shape[-1], axis=-1)


def draw(policy: Gaussian, features: Array, number: int, seed: int) -> Draws:
    """`number` edits for a context, in antithetic pairs unless there is a gate: what a pair shares cancels in its difference, a gate's effect too."""
    generator = np.random.default_rng(seed)
    d, paired = len(policy.mean), policy.gate is None
    noise = generator.standard_normal((-(-number // 2) if paired else number, d))
    if paired:
        noise = np.stack([noise, -noise], axis=1).reshape(-1, d)[:number]
    chances = policy.chances(features)
    gates = (generator.random((number, len(chances))) < chances).astype(np.float64)
    return Draws(features, policy.mu(features) + policy.sigma * noise, gates, np.full(number, np.nan), paired)


def limited(edit: Array, most: float) -> Array:
    """The edit, shortened to the norm `most` where it is longer."""
    norm = float(np.linalg.norm(edit))
    return edit * (most / norm) if norm > most else edit


# ---------------------------------------------------------------- the gradient


def advantages(draws: Draws) -> Array:
    """(K,) with NaN where a reward, or its twin's, is missing. Of pairs: the reward minus the pair's mean; else minus the mean of the others.

    Both leave the gradient unbiased; a constant part of the reward takes no part in either.
    """
    rewards = draws.rewards
    if draws.paired and len(rewards) % 2 == 0:
        pairs = rewards.reshape(-1, 2)
        within: Array = pairs - pairs.mean(1, keepdims=True)
        return within.reshape(-1)
    scored = np.isfinite(rewards)
    n = int(scored.sum())
    if n < 2:
        return np.full(len(rewards), np.nan)
    others = (rewards[scored].sum() - rewards) / (n - 1)
    return np.where(scored, rewards - others, np.nan)


def log_probability(policy: Gaussian, draws: Draws) -> Array:
    """log π(a | C) of every draw, (K,), without what does not depend on M and G."""
    away = (draws.actions - policy.mu(draws.features)) / policy.sigma
    found: Array = -0.5 * (away**2).sum(1)
    if draws.open.size:
        p = policy.chances(draws.features)
        found += (draws.open * np.log(p) + (1 - draws.open) * np.log1p(-p)).sum(1)
    return found


@dataclass(frozen=True)
class Gradient:
    """The direction in which the reward rises: of M (d, F) and of G (L, F)."""

    mean: Array
    gate: Array | None


def gradient(policy: Gaussian, old: Gaussian, groups: Sequence[Draws], weigh: Weigh) -> Gradient:
    """The policy gradient: the mean over contexts and draws of weight · ∇ log π(a | C). `old` is the policy that drew."""
    used = [np.flatnonzero(np.isfinite(advantages(group))) for group in groups]
    taught = [(group, kept) for group, kept in zip(groups, used, strict=True) if len(kept)]
    mean, gate = np.zeros_like(policy.mean), None if policy.gate is None else np.zeros_like(policy.gate)
    if not taught:
        return Gradient(mean, gate)
    gained = np.concatenate([advantages(group)[kept] for group, kept in taught])
    rewards = np.concatenate([group.rewards[kept] for group, kept in taught])
    ratios = np.exp(np.concatenate([(log_probability(policy, group) - log_probability(old, group))[kept] for group, kept in taught]))
    weights = np.asarray(weigh(rewards.tolist(), gained.tolist(), ratios.tolist()))
    ends = np.cumsum([len(kept) for _, kept in taught])
    for (group, kept), own in zip(taught, np.split(weights, ends[:-1]), strict=True):
        away = (group.actions[kept] - policy.mu(group.features)) / policy.sigma**2
        mean += np.outer(own @ away / len(kept), group.features) / len(taught)
        if gate is not None:
            surprise = group.open[kept] - policy.chances(group.features)
            gate += np.outer(own @ surprise / len(kept), group.features) / len(taught)
    return Gradient(mean, gate)


# ---------------------------------------------------------------- the update


@dataclass(frozen=True)
class Schedule:
    """How the policy moves: `lr` of Adam, the most that an update may diverge (`kl`, nats, mean over contexts), and the weight `anchor` of the
    decay towards zero. `sigma` is what σ begins with."""

    sigma: float
    lr: float
    kl: float
    anchor: float = 0.0


@dataclass(frozen=True)
class Adam:
    """First moments of the gradient of M and G side by side (d + L, F), and second moments, one a number (d + L, 1), after `steps` steps.

    All features of a number share the largest second moment: with one each, those that say nothing would move as far as the constant does.
    """

    first: Array
    second: Array
    steps: int = 0

    def step(self, gradient: Array) -> tuple[Adam, Array]:
        """The next state, and the direction of the step."""
        squares, n = (gradient**2).max(axis=1, keepdims=True), self.steps + 1
        first, second = BETA1 * self.first + (1 - BETA1) * gradient, BETA2 * self.second + (1 - BETA2) * squares
        return Adam(first, second, n), (first / (1 - BETA1**n)) / (np.sqrt(second / (1 - BETA2**n)) + EPS)


@dataclass(frozen=True)
class Learned:
    """A policy with its optimizer. `kl` is how far the last update went, nats."""

    policy: Gaussian
    adam: Adam
    kl: float = 0.0


def begin(d: int, features: int, sigma: float, layers: int = 0) -> Learned:
    """The policy that every run begins with: the mean edit is zero for every context; with a gate (`layers` > 0) each layer is on half the time."""
    policy = Gaussian(np.zeros((d, features)), sigma, np.zeros((layers, features)) if layers else None)
    return Learned(policy, Adam(np.zeros((d + layers, features)), np.zeros((d + layers, 1))))


def update(before: Learned, groups: Sequence[Draws], weigh: Weigh, passes: int, schedule: Schedule, progress: float) -> Learned:
    """The policy after a round, `progress` from 0 (the first) to 1 (the last): so many ascents over the same draws, within the limit of `kl`."""
    old, learned = before.policy, before
    pace = LEAST**progress
    for _ in range(passes):
        learned = _ascend(learned, old, groups, weigh, schedule, schedule.lr * pace)
    moved = divergence(learned.policy, old, groups)
    share = min(1.0, (schedule.kl / moved) ** 0.5) if moved > 0 else 1.0
    mean = old.mean + share * (learned.policy.mean - old.mean)
    gate = None if old.gate is None or learned.policy.gate is None else old.gate + share * (learned.policy.gate - old.gate)
    policy = Gaussian(mean, schedule.sigma * pace, gate)
    return Learned(policy, learned.adam, divergence(replace(policy, sigma=old.sigma), old, groups))


def _ascend(learned: Learned, old: Gaussian, groups: Sequence[Draws], weigh: Weigh, schedule: Schedule, lr: float) -> Learned:
    policy = learned.policy
    found = gradient(policy, old, groups, weigh)
    decay = schedule.anchor / schedule.sigma**2 * _mean_outer(policy, groups)
    both = found.mean - decay if found.gate is None else np.concatenate([found.mean - decay, found.gate])
    adam, step = learned.adam.step(both)
    d = len(policy.mean)
    gate = None if policy.gate is None else policy.gate + lr * GATE_STEP * step[d:]
    return Learned(Gaussian(policy.mean + lr * step[:d], policy.sigma, gate), adam)


def _mean_outer(policy: Gaussian, groups: Sequence[Draws]) -> Array:
    """The gradient of ½ |μ(C)|², mean over contexts."""
    total = sum((np.outer(policy.mu(group.features), group.features) for group in groups), np.zeros_like(policy.mean))
    return total / max(1, len(groups))


def divergence(new: Gaussian, old: Gaussian, groups: Sequence[Draws]) -> float:
    """KL(new ‖ old) of the means, nats, mean over contexts; σ is the old one."""
    moved = [(new.mu(group.features) - old.mu(group.features)) / old.sigma for group in groups]
    return float(np.mean([0.5 * (one**2).sum() for one in moved])) if moved else 0.0
