"""The plainest guard: did training come to an end?"""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.types import Trained, Verdict


def training(trained: Sequence[Trained]) -> Verdict:
    """Rejects where any of a candidate's adapters failed to train."""
    failures = [t.failure for t in trained if t.failure is not None]
    return Verdict("training", "reject", failures[0]) if failures else Verdict("training", "accept", "every adapter was trained to its last step")
