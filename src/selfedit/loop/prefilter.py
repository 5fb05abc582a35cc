"""Which self-edits are worth a full training: the recipe's prefilter rates all, and only the best of each task are left.

Shapes: P tasks, K self-edits a task, Q reward questions a task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from selfedit.loop.run import Run, by_task
from selfedit.prefilters import Base, Prefilter
from selfedit.types import Progress, Proposal, Rating, Task


def prefiltered(run: Run, tasks_P: Sequence[Task], edits_PK: Sequence[Proposal], base_PQ: Base, name: str) -> list[Proposal]:
    """Those that the recipe's prefilter leaves to be trained in full; all without one."""
    prefilter = run.recipe.open("prefilter")
    if not prefilter.selective:
        return list(edits_PK)
    usable_PK = [edit for edit in edits_PK if not edit.edit.problem]
    kept = best(usable_PK, rated(run, prefilter, tasks_P, usable_PK, base_PQ, name), prefilter.settings.keep)
    return kept + [edit for edit in edits_PK if edit.edit.problem]  # they cost nothing, and have their reason


def rated(run: Run, prefilter: Prefilter, tasks_P: Sequence[Task], edits_PK: Sequence[Proposal], base_PQ: Base, name: str) -> list[Rating]:
    """What a prefilter says of each self-edit; with several rungs, again of the better half of those that are left."""
    tasks, left, kind = {t.id: t for t in tasks_P}, list(edits_PK), prefilter.settings.part
    ratings: list[Rating] = []
    for rung in range(prefilter.rungs):
        if rung:
            left = [e for group in by_task(left) for e in best(group, ratings, max(prefilter.settings.keep, math.ceil(len(group) / 2)))]
        ratings += rung_rated(run, prefilter, rung, tasks, left, base_PQ, f"{name}/{kind}-{rung}-")
    return ratings


def rung_rated(
    run: Run, prefilter: Prefilter, rung: int, tasks: Mapping[str, Task], edits: Sequence[Proposal], base_PQ: Base, name: str
) -> list[Rating]:
    """The ratings of self-edits in one rung. `name` begins the names of the steps."""
    kind = prefilter.settings.part

    def rate(some: Sequence[Proposal], progress: Progress) -> list[Rating]:
        values = prefilter.rate(run.policy, rung, tasks, some, base_PQ, progress)
        return [Rating(*e.key, kind, rung, value) for e, value in zip(some, values, strict=True)]

    return run.steps(name, Rating, f"Rating self-edits ({kind.replace('_', ' ')}{f', rung {rung + 1}' if rung else ''})", edits, rate)


def best(edits: Sequence[Proposal], ratings: Sequence[Rating], keep: int) -> list[Proposal]:
    """The `keep` best of each group by their ratings, in their old order. What could not be rated is not kept."""
    import numpy as np

    from selfedit.study.reliability import order, standings

    standing = standings(ratings)
    left = []
    for group in by_task(edits):
        values = np.array([standing.get(e.key, math.nan) for e in group])
        chosen = {i for i in order(values)[:keep] if not math.isnan(values[i])}
        left += [e for i, e in enumerate(group) if i in chosen]
    return left
