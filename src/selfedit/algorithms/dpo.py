"""DPO (Rafailov et al. 2023, arXiv 2305.18290), in on-policy rounds: pairs are of the policy's own self-edits, new ones each round."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.algorithms.groups import varied
from selfedit.types import Candidate, Selected


def select(candidates: Sequence[Candidate]) -> list[Selected]:
    """Of each group whose rewards differ the best self-edit, advantage 1, and after it the worst, advantage -1; equal rewards by lower index.

    Only what the policy chose may tell the two apart: strategies that it was given, and did not pick, have a pair each.
    """
    given: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        edit = candidate.proposal.edit
        given.setdefault("" if edit.pick else edit.strategy, []).append(candidate)
    kept = []
    for (round_, task_id), group in (found for same in given.values() for found in varied(same).items()):
        best, worst = min(group, key=lambda member: (-member[1], member[0])), min(group, key=lambda member: (member[1], member[0]))
        kept += [Selected(task_id, round_, best[0], 1.0), Selected(task_id, round_, worst[0], -1.0)]
    return kept
