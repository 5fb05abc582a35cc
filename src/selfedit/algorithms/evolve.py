"""Evolution of the weights: several LoRAs are trained on self-written data, the best is the foundation of the next iteration, its data accumulate,
and at the end they fine-tune the model as it came.

Number k of the self-edits of all tasks together are the data of LoRA k. The scheme is that of popular accounts of SEAL (arXiv 2506.10943); choosing
among whole populations by fitness alone goes back to Rechenberg (1973), (1, λ) selection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

from selfedit.algorithms.groups import TIE, groups
from selfedit.types import Candidate, Proposal, Selected


def members(proposals: Sequence[Proposal]) -> list[list[Proposal]]:
    """The data of each LoRA: the self-edits of one number, by number."""
    found: dict[int, list[Proposal]] = defaultdict(list)
    for proposal in proposals:
        found[proposal.index].append(proposal)
    return [found[index] for index in sorted(found)]


def select(candidates: Sequence[Candidate]) -> list[Selected]:
    """All self-edits of the LoRA with the highest mean reward over the tasks; the lower number where two are equal.

    A LoRA that was not scored on every task that could be is never chosen: its mean would be over other tasks than the others'.
    """
    rewards: dict[int, list[float]] = defaultdict(list)
    scored = groups(candidates).values()
    for group in scored:
        for index, reward in group:
            rewards[index].append(reward)
    fitness = {index: round(fmean(known), TIE) for index, known in rewards.items() if len(known) == len(scored)}
    if not fitness:
        return []
    best = min(fitness, key=lambda index: (-fitness[index], index))
    chosen = [candidate.proposal for candidate in candidates if candidate.proposal.index == best]
    return [Selected(proposal.task_id, proposal.round, proposal.index) for proposal in chosen]
