"""Learning from rewards: which self-edits the policy is trained on, how much each counts, and with which loss."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.algorithms import dpo, evolve, grpo, ppo, reinforce, rest_em
from selfedit.config import DPO, GRPO, PPO, AlgorithmSettings, Archive, Bandit, Evolve, Reinforce, RestEM
from selfedit.types import Candidate, Selected, Update


def select(settings: AlgorithmSettings, candidates: Sequence[Candidate]) -> list[Selected]:
    """What is learned from, with its advantage."""
    match settings:
        case RestEM(select="best"):
            return rest_em.select(candidates, settings.keep)
        case RestEM():
            return rest_em.above(candidates, settings.threshold)
        case Reinforce():
            return reinforce.select(candidates)
        case PPO():
            return ppo.select(candidates)
        case GRPO():
            return grpo.select(candidates, settings.scale)
        case DPO():
            return dpo.select(candidates)
        case Evolve():
            return evolve.select(candidates)
        case Archive() | Bandit():
            return []


def loss(settings: AlgorithmSettings, kl: float, longest: int) -> tuple[str, dict[str, float]]:
    """The engine's loss and its options; `kl` is the weight of the divergence, `longest` the most tokens a self-edit may be written with."""
    match settings:
        case RestEM() | Evolve() | Archive() | Bandit():
            return "cross_entropy", {}
        case Reinforce():
            return "reinforce", {"kl": kl}
        case PPO():
            return "ppo", {"clip": settings.clip, "clip_high": settings.clip, "kl": kl}
        case GRPO():
            shape = {"sequence": {}, "tokens": {"token_mean": 1.0}, "constant": {"max_tokens": float(longest)}}[settings.normalise]
            return "grpo", {"clip": settings.clip, "clip_high": settings.clip_high, "kl": kl, **shape}
        case DPO():
            return "dpo", {"beta": settings.beta}


def kl_coefficient(settings: AlgorithmSettings, before: Update | None, kl: float | None) -> float:
    """The weight of the divergence in the next update: the recipe's in the first; PPO's is controlled by what the update `before` led to, `kl`."""
    first: float = getattr(settings, "kl", 0.0)
    if before is None:
        return first
    coefficient = before.metrics.get("kl_coefficient", first)
    return ppo.control(coefficient, kl, settings.kl_target) if isinstance(settings, PPO) and before.losses and kl is not None else coefficient
