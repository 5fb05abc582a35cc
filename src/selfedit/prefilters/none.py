"""No prefilter: every self-edit is trained in full."""

from __future__ import annotations

from selfedit.prefilters.base import Prefilter, prefilter


@prefilter("none", label="No prefilter", means="every self-edit is trained in full")
class NoPrefilter(Prefilter):
    """Leaves everything as it is."""

    cheaper = False
    selective = False
    rungs = 0
