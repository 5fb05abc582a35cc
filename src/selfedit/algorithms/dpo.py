"""DPO (Rafailov et al. 2023, arXiv 2305.18290), in on-policy rounds: pairs are of the policy's own self-edits, new ones each round.

The two sides of a pair answer the same prompts: strategies that ask about short answers of the passage ask all self-edits of a task in a round about
the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from selfedit.algorithms.base import Outer, PolicyGradient, TurnSample, algorithm
from selfedit.algorithms.groups import varied
from selfedit.errors import ConfigError
from selfedit.grouping import grouped
from selfedit.types import Candidate, Selected, Update


class DPOSettings(Outer):
    """Settings of `dpo`."""

    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held to the starting policy: larger holds more."""


@algorithm("dpo", label="DPO", means="the best self-edit of each task is preferred to the worst; new pairs each round", settings=DPOSettings)
class DPO(PolicyGradient):
    """DPO on pairs of the policy's own self-edits."""

    loss = "dpo"
    same_prompts = True

    def check_run(self, recipe: Any) -> None:
        """Pairs are of one strategy, so each strategy needs two self-edits of a task."""
        propose = recipe.propose
        if not propose.policy_picks and len(set(propose.choices)) >= propose.candidates:
            why = "algorithm dpo pairs self-edits of one strategy, so it needs more of them than strategies; or let the policy pick (propose.pick)"
            raise ConfigError(f"propose.candidates is {propose.candidates}: {why}")

    def select(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """The pairs."""
        return pairs(candidates)

    def options(self, kl: float, longest: int) -> dict[str, float]:
        """DPO's one option."""
        return {"beta": self.settings.beta}

    def kl(self, before: Update | None, divergence: float | None) -> float:
        """The divergence is held by beta; it has no weight of its own."""
        return 0.0

    def actions(self, sides: list[list[TurnSample]]) -> list[list[TurnSample]]:
        """Both sides of each pair together; none where one side wrote nothing."""
        return [[*best, *worst] for best, worst in zip(sides[::2], sides[1::2], strict=True) if best and worst]


def pairs(candidates: Sequence[Candidate]) -> list[Selected]:
    """Of each group whose rewards differ the best self-edit, advantage 1, and after it the worst, advantage -1; equal rewards by lower index.

    Only what the policy chose may tell the two apart: strategies that it was given, and did not pick, have a pair each.
    """
    given = grouped(("" if c.proposal.edit.pick else c.proposal.edit.strategy, c) for c in candidates)
    selected = []
    for (round_, task_id), group in (found for same in given.values() for found in varied(same).items()):
        best, worst = min(group, key=lambda member: (-member[1], member[0])), min(group, key=lambda member: (member[1], member[0]))
        selected += [Selected(task_id, round_, best[0], 1.0), Selected(task_id, round_, worst[0], -1.0)]
    return selected
