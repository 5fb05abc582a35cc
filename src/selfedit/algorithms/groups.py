"""Groups: the candidates of one task in one round. Only what was scored and accepted counts; a missing reward is never 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selfedit.grouping import grouped
from selfedit.types import Candidate, Selected

TIE = 9
"""Decimals to which rewards are compared, so that the order of a sum never decides."""

Group = list[tuple[int, float]]
"""(index, reward) of each member, by index."""


def groups(candidates: Sequence[Candidate]) -> dict[tuple[int, str], Group]:
    """By (round, task), in the order of the candidates."""
    scored = [(c.proposal, c.reward.value) for c in candidates if c.reward.value is not None and c.accepted]
    found = grouped(((p.round, p.task_id), (p.index, round(value, TIE))) for p, value in scored)
    return {key: sorted(group) for key, group in found.items()}


def varied(candidates: Sequence[Candidate]) -> dict[tuple[int, str], Group]:
    """The groups in which at least two rewards differ: from the others nothing can be learned by comparing."""
    return {key: group for key, group in groups(candidates).items() if len({value for _, value in group}) > 1}


def with_advantages(candidates: Sequence[Candidate], advantages: Callable[[list[float]], list[float]]) -> list[Selected]:
    """Every member of the varied groups, with its advantage: a function of the rewards of its group."""
    return [
        Selected(task_id, round_, index, advantage)
        for (round_, task_id), group in varied(candidates).items()
        for (index, _), advantage in zip(group, advantages([value for _, value in group]), strict=True)
    ]
