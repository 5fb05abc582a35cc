"""Has a run used what it was given? It goes by the run's ledger, after every round of `train`."""

from __future__ import annotations

import math

from pydantic import Field

from selfedit.guards.base import RoundSeen, accept, guard, stop
from selfedit.parts import Settings
from selfedit.types import Verdict


class BudgetSettings(Settings):
    """Settings of `budget`; 0 is no limit."""

    tokens: int = Field(0, ge=0)
    """Most tokens, trained on and written."""
    seconds: float = Field(0.0, ge=0)
    """Most seconds of wall clock, of all finished steps. How many rounds there are then depends on the machine."""
    edits: int = Field(0, ge=0)
    """Most self-edits."""


@guard("budget", means="a run that has used its tokens, its seconds or its self-edits stops", settings=BudgetSettings, stage="round")
def _budget(seen: RoundSeen, settings: BudgetSettings) -> Verdict | None:
    return budget(seen.cost.train_tokens + seen.cost.sample_tokens, seen.cost.wall_s, seen.edits, settings)


def budget(tokens: int, seconds: float, edits: int, limits: BudgetSettings) -> Verdict | None:
    """Stops where one of the limits that are set is exceeded, and says which; nobody trains on that round. None where nothing is limited."""
    used = {"tokens": (tokens, limits.tokens), "seconds": (math.ceil(seconds), limits.seconds), "edits": (edits, limits.edits)}
    limited = {name: pair for name, pair in used.items() if pair[1]}
    if not limited:
        return None
    reason = ", ".join(f"{amount:,} {name} of {most:,.0f}" for name, (amount, most) in limited.items())
    over = [name for name, (amount, most) in limited.items() if amount > most]
    return stop(f"{reason} (recipe: guard.budget.{over[0]})") if over else accept(reason)
