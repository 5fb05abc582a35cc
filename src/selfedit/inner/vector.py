"""Edit vectors: a self-edit is a few numbers, and its adapter is made of them. Nothing is trained in the inner loop, and nothing is left to undo."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from selfedit.config.sections import known
from selfedit.errors import ConfigError
from selfedit.inner.base import InnerLoop, inner
from selfedit.parts import Settings

SPREAD = 6
"""Layers that are changed where the recipe names none."""


class VectorSettings(Settings):
    """Settings of `vector`."""

    layers: tuple[int, ...] = ()
    """Layers that an edit changes, from 0. Empty: six, evenly spread, the last of the model among them."""
    basis: Literal["weights", "gradient"] = "weights"
    """What the numbers weigh: `weights`, random mixtures of the largest singular directions of each weight; `gradient`, the directions of the
    steepest descent of the training questions' right answers, one for each number of a layer."""
    rank: int = Field(2, ge=1, le=64)
    """Largest singular directions of each weight that an edit mixes: the rank of its adapter. With the basis `gradient` it is `width`."""
    width: int = Field(4, ge=1, le=1024)
    """Numbers of each layer, shared by its linear layers."""
    candidates: int = Field(4, ge=2, le=1024, multiple_of=2)
    """Edits drawn for each passage in a round: antithetic pairs, mean plus and minus the same noise."""
    questions: int = Field(4, ge=1)
    """Most reward questions that the edits of a passage are asked in a round; the same ones for all edits of the passage. Validation asks
    twice as many, always the same."""
    features: int = Field(8, ge=0)
    """Most directions of how the model reads passages that the mean edit depends on; at most half as many as passages. 0: one edit for all."""
    gate: float = Field(0.0, ge=0)
    """What each layer that is on costs of the reward, nats a token. 0: no gate, every layer is on."""
    sigma: float = Field(0.1, gt=0)
    """Standard deviation of the numbers drawn in the first round; it falls to a quarter by the last, and the learning rate with it."""
    lr: float = Field(0.06, gt=0)
    """How far a step of Adam moves each number of the mean."""
    kl: float = Field(0.1, gt=0)
    """The furthest that an update may move the policy: KL divergence in nats, for each number of the edit."""
    anchor: float = Field(1e-3, ge=0)
    """Weight of the decay of the mean edit towards zero, against forgetting (anchored weight decay, arXiv 2605.30148)."""
    norm: float = Field(2.0, gt=0)
    """The longest edit that is applied; longer ones are shortened to it."""
    anchors: int = Field(2, ge=0, le=400)
    """Everyday prompts with the model's own answers, which an edit is to leave as likely as they were."""
    drift: float = Field(1.0, ge=0)
    """What is taken off the reward for each nat a token by which these answers became less likely."""
    drift_free: float = Field(0.1, ge=0)
    """Loss of likelihood of these answers, in nats a token, that costs nothing."""
    validation: float = Field(0.25, ge=0, lt=1)
    """Share of the passages to learn from that are kept to choose the best round by; 0: the last round is used."""
    patience: int = Field(0, ge=0)
    """Rounds without a better one after which a run stops; 0: it never does."""
    rows: tuple[str, ...] = ("base", "zero", "random_vector", "gradient_step", "mean_edit", "contextual_edit", "es", "gradient", "few_shot")
    """The table; `gradient_step` is in it with the basis `gradient` alone. `mean_edit` and `es` learn beside the policy, from as many edits of their
    own: without them a round takes a third of the time."""


@inner(
    "vector",
    label="Edit vector",
    means="nothing is trained: the self-edit's numbers change a few layers, through a fixed basis",
    settings=VectorSettings,
)
class Vector(InnerLoop):
    """From numbers to an adapter; the engine makes it."""

    kind = "vector"
    trains = False

    def check(self, recipe: Any) -> None:
        """The rows exist; the reward is one of gold answers; layers are named once."""
        known("vector_row", self.settings.rows)
        needs = recipe.open("reward").needs()
        if needs.samples or needs.texts or not needs.gold or needs.form != "answer":
            raise ValueError(f"edit vectors are rewarded for right answers with the passage in view, which {recipe.reward.part} does not measure")
        if recipe.cold_start.enabled and not recipe.added:
            raise ValueError("a cold start shows good training texts, and edit vectors have none: leave cold_start out")
        if len(set(self.settings.layers)) != len(self.settings.layers) or min(self.settings.layers, default=0) < 0:
            raise ValueError("inner.layers: each layer once, counted from 0")

    def layers(self, count: int) -> tuple[int, ...]:
        """The layers that are changed, of so many. Raises ConfigError for one that is not there."""
        chosen: tuple[int, ...] = self.settings.layers
        if max(chosen, default=0) >= count:
            raise ConfigError(f"inner.layers names layer {max(chosen)}, and the model has the layers 0 to {count - 1}")
        return chosen or tuple(sorted({round((n + 1) * count / SPREAD) - 1 for n in range(SPREAD)} - {-1}))
