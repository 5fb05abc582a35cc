"""`untrained`: one unselected self-edit that the untrained model wrote, with the strategy that it does best with."""

from __future__ import annotations

from selfedit.baselines.base import Baseline, Comparison, Start, baseline


@baseline(
    "untrained",
    label="Untrained self-edits",
    means="an adapter for each document, on a self-edit that the untrained model wrote, with its best strategy",
)
class Untrained(Baseline):
    """What training begins with."""

    place = 1
    needs_edits = 1
    starts = True

    def measure(self, run: Comparison) -> Start:
        """Each strategy has a row; the best of them, judged by the reward questions, stands as this one."""
        return run.untrained()
