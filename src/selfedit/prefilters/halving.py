"""Successive halving (Jamieson and Talwalkar 2016): all train for a few epochs, the better half by likelihood gain for some more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from selfedit.prefilters.base import Base, Prefilter, Ratings, SelectiveSettings, Tasks, gains, prefilter
from selfedit.types import Progress, Proposal

if TYPE_CHECKING:
    from selfedit.policy import Policy


class HalvingSettings(SelectiveSettings):
    """Settings of `halving`."""

    rungs: tuple[int, ...] = Field((1, 2), min_length=1)
    """Epochs of each rung, ascending. A rung is a whole training from the start, with its own decay of the learning rate."""

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 1 or any(a >= b for a, b in pairwise(value)):
            raise ValueError("rungs are epochs, at least 1, each more than the one before")
        return value


@prefilter(
    "halving",
    label="successive halving",
    means="all train for a few epochs, the better half by likelihood gain for some more, until `keep` are left",
    settings=HalvingSettings,
)
class Halving(Prefilter):
    """Successive halving."""

    @property
    def rungs(self) -> int:  # type: ignore[override]
        """One for each number of epochs."""
        return len(self.settings.rungs)

    @property
    def longest(self) -> int:
        """Epochs of the last rung."""
        return int(self.settings.rungs[-1])

    def rate(self, policy: Policy, rung: int, tasks: Tasks, edits: Sequence[Proposal], base: Base, progress: Progress) -> Ratings:
        """The likelihood gain after the rung's epochs, from one initialisation for all self-edits of a task."""
        epochs = self.settings.rungs[rung]
        jobs = [policy.job(e.edit.examples, policy.seed("screen", e.round, e.task_id), e.edit.directives, epochs) for e in edits]
        return gains(policy, tasks, edits, policy.gold_of_jobs(jobs, [tasks[e.task_id] for e in edits], progress), base)
