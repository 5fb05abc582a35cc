"""`base`: the untrained model."""

from __future__ import annotations

from selfedit.baselines.base import Baseline, Comparison, Start, baseline


@baseline("base", label="Before", means="the untrained model")
class Untouched(Baseline):
    """Asked once; nothing is left to chance."""

    place = -1

    def measure(self, run: Comparison) -> Start | None:
        """The current weights' own answers."""
        run.answer_base("base")
        return None
