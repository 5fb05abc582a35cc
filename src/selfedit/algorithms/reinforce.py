"""REINFORCE with a leave-one-out baseline (RLOO: Ahmadian et al. 2024, arXiv 2402.14740; Kool et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.algorithms.groups import compared
from selfedit.types import Candidate, Selected


def select(candidates: Sequence[Candidate]) -> list[Selected]:
    """Every scored self-edit of a group whose rewards differ."""
    return compared(candidates, leave_one_out)


def leave_one_out(rewards: list[float]) -> list[float]:
    """Each reward less the mean of the others (eq. 6): a baseline that the self-edit itself had no part in, so the gradient stays unbiased."""
    total = sum(rewards)
    return [reward - (total - reward) / (len(rewards) - 1) for reward in rewards]
