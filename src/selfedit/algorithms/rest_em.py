"""ReST-EM (Singh et al. 2023, arXiv 2312.06585): learn from the best self-edits of each task by supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.algorithms.groups import groups
from selfedit.types import Candidate, Selected


def select(candidates: Sequence[Candidate], keep: int) -> list[Selected]:
    """The `keep` best candidates of each group (one task in one round) by reward, best first; equal rewards by lower index.

    Unscored candidates, and those that a guard did not accept, are never kept. On SEAL's released first round this gives exactly the authors' 50 rows
    when the reward is theirs: the mean over three seeds of the adapter's accuracy, each rounded to four decimals (`adapter_mean`). Their rounding
    decides two ties among ninths ("Egypt", "Greece"); without it two rows differ.
    """
    ranked = {key: sorted(group, key=lambda member: -member[1]) for key, group in groups(candidates).items()}
    return [Selected(task_id, round_, index) for (round_, task_id), group in ranked.items() for index, _ in group[:keep]]


def above(candidates: Sequence[Candidate], threshold: float) -> list[Selected]:
    """Every candidate whose reward exceeds the threshold (ReST-EM's own filter, section 3)."""
    return [
        Selected(task_id, round_, index) for (round_, task_id), group in groups(candidates).items() for index, value in group if value > threshold
    ]
