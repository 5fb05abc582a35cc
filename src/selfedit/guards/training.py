"""The plainest guard: did training come to an end?"""

from __future__ import annotations

from selfedit.guards.base import CandidateSeen, accept, guard, reject
from selfedit.parts import Settings
from selfedit.types import Verdict


@guard("training", means="a candidate any of whose adapters failed to train is rejected", stage="candidate")
def training(seen: CandidateSeen, settings: Settings) -> Verdict:
    """Says the first failure, if there is one."""
    failures = [t.failure for t in seen.trained if t.failure is not None]
    return reject(failures[0]) if failures else accept("every adapter was trained to its last step")
