"""Cheaper rounds, and what they are tried with."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from selfedit.config.base import Settings


class NoPrefilter(Settings):
    """Every self-edit is trained in full."""

    type: Literal["none"] = "none"


class Halving(Settings):
    """Successive halving: all are trained for a few epochs, the better half by likelihood gain for some more, until `keep` are left."""

    type: Literal["halving"] = "halving"
    keep: int = Field(2, ge=1)
    """Self-edits of a task that are then trained in full; the others get no reward."""
    rungs: tuple[int, ...] = Field((1, 2), min_length=1)
    """Epochs of each rung, ascending. A rung is a whole training from the start, with its own decay of the learning rate."""

    @property
    def longest(self) -> int:
        """Epochs of the last rung."""
        return self.rungs[-1]

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 1 or any(a >= b for a, b in pairwise(value)):
            raise ValueError("rungs are epochs, at least 1, each more than the one before")
        return value


class EarlyStop(Settings):
    """The reward is measured after fewer epochs; what is kept is trained in full in the end. No self-edit is left out."""

    type: Literal["early_stop"] = "early_stop"
    epochs: int = Field(2, ge=1)
    """Passes over a self-edit's examples, with their own decay of the learning rate, in place of `inner.epochs`."""

    @property
    def longest(self) -> int:
        """As of successive halving: epochs of its only rung."""
        return self.epochs


class Gradient(Settings):
    """One-step gradient alignment: the likelihood gain after one tiny step along the self-edit's gradient, from the adapter's initialisation."""

    type: Literal["gradient"] = "gradient"
    keep: int = Field(2, ge=1)
    """Self-edits of a task that are then trained in full; the others get no reward."""
    measure: Literal["cosine", "dot"] = "cosine"
    """`cosine`: the step is as long for every self-edit. `dot`: as long as its gradient."""


class InContext(Settings):
    """The likelihood of the gold answers with the self-edit's examples in the prompt, without the passage. Nothing is trained."""

    type: Literal["in_context"] = "in_context"
    keep: int = Field(2, ge=1)
    """Self-edits of a task that are then trained in full; the others get no reward."""


Selective = Halving | Gradient | InContext
"""Screens that leave self-edits out; they rate by the right answers to the reward questions."""
PrefilterSettings = Annotated[NoPrefilter | Halving | EarlyStop | Gradient | InContext, Field(discriminator="type")]


class ReliabilityStudy(Settings):
    """What `selfedit eval --reliability` measures, on `propose.candidates` self-edits of each of `limit` tasks."""

    seeds: int = Field(3, ge=2, le=12)
    """Adapters trained on each self-edit with different seeds."""
    screens: tuple[str, ...] = ("halving", "early_stop", "gradient", "in_context")
    """Screens that are compared with the full reward, with the settings of `prefilter` where they are its type, else with their defaults."""

    @field_validator("screens")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in PREFILTERS]:
            raise ValueError(f"there is no screen '{unknown[0]}'; there are: {', '.join(PREFILTERS)}")
        return value


PREFILTERS = {kind.model_fields["type"].default: kind for kind in (Halving, EarlyStop, Gradient, InContext)}
"""The screens by their type."""
