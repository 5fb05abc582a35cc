"""ReST-EM (Singh et al. 2023, arXiv 2312.06585): learn from the best self-edits of each task by supervised fine-tuning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from selfedit.types import Candidate, Kept

TIE = 9
"""Decimals to which rewards are compared, so that the order of a sum never decides."""


def select(candidates: Sequence[Candidate], keep: int) -> list[Kept]:
    """The `keep` best candidates of each group (one task in one round) by reward, best first; equal rewards by lower index.

    Unscored candidates, and those that a guard did not accept, are never kept. On SEAL's released first round this gives exactly the authors' 50 rows
    when the reward is theirs: the mean over three seeds of the adapter's accuracy, each rounded to four decimals (`adapter_mean`). Their rounding
    decides two ties among ninths ("Egypt", "Greece"); without it two rows differ.
    """
    groups: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)
    for candidate in candidates:
        proposal, value = candidate.proposal, candidate.reward.value
        if value is not None and all(verdict.decision == "accept" for verdict in candidate.verdicts):
            groups[proposal.round, proposal.task_id].append((-round(value, TIE), proposal.index))
    return [Kept(task_id, round_, index) for (round_, task_id), ranked in groups.items() for _, index in sorted(ranked)[:keep]]
