"""`best_directives`: of many settings of the directives, the one under which a self-edit does best on the report questions themselves."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from pydantic import Field

from selfedit.baselines.base import Baseline, Comparison, Measurement, baseline, needs_directives
from selfedit.parts import Settings
from selfedit.types import Directives, Task


class BestDirectivesSettings(Settings):
    """Settings of `best_directives`."""

    most: int = Field(12, ge=1)
    """Settings that are tried for each document: the default, and others drawn at random."""


@baseline(
    "best_directives",
    label="Best directives (oracle)",
    means="an adapter for each of many settings of the directives; the one that answers the report questions best counts",
    settings=BestDirectivesSettings,
)
class BestDirectives(Baseline):
    """An upper bound for whoever chooses directives: it looks at the answers."""

    place = 6
    needs_edits = 1

    def check(self, recipe: Any) -> None:
        """Refuse it where there is nothing to choose."""
        needs_directives(self.settings.part, recipe)

    def plan(self, run: Comparison, task: Task, seed: int) -> Sequence[Measurement]:
        """The model's first self-edit with each setting that can be trained."""
        policy, first = run.policy, replace(run.edits[task.id, seed][0].edit, problem="")
        found = [run.edited(task, seed, policy.directed(task, first, directives)) for directives in self.tried(run)]
        return [one for one in found if one.job]

    def tried(self, run: Comparison) -> list[Directives]:
        """The same for every document: the default first."""
        space = run.policy.recipe.space
        every = [
            tuple(zip((one.name for one in space.directives), values, strict=True)) for values in product(*(one.values for one in space.directives))
        ]
        random.Random(run.policy.seed("best directives")).shuffle(every)
        return list(dict.fromkeys([space.default, *every]))[: self.settings.most]
