"""Early stop: the reward is measured after fewer epochs; what is selected is trained in full in the end. No self-edit is left out."""

from __future__ import annotations

from pydantic import Field

from selfedit.parts import Settings
from selfedit.prefilters.base import Prefilter, prefilter


class EarlyStopSettings(Settings):
    """Settings of `early_stop`."""

    epochs: int = Field(2, ge=1)
    """Passes over a self-edit's examples, with their own decay of the learning rate, in place of the inner loop's."""


@prefilter(
    "early_stop",
    label="early stop",
    means="the reward is measured after fewer epochs; what is selected is trained in full in the end, and no self-edit is left out",
    settings=EarlyStopSettings,
)
class EarlyStop(Prefilter):
    """A shorter inner loop for rewards. As a rating, it is the recipe's reward after those epochs."""

    selective = False
    rungs = 0

    @property
    def epochs(self) -> int | None:
        """Those of the settings."""
        return int(self.settings.epochs)

    @property
    def longest(self) -> int:
        """Its only training."""
        return int(self.settings.epochs)
