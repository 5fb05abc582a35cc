"""LoRA: supervised fine-tuning of a low-rank adapter on the examples of a self-edit (SEAL section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from selfedit.inner.base import Directives, InnerLoop, InnerSettings, inner
from selfedit.types import Example, LoraShape, Optimizer, TrainJob

if TYPE_CHECKING:
    from selfedit.policy.render import Renderer


class LoraSettings(InnerSettings):
    """One LoRA trained on one self-edit."""

    lora: LoraShape = LoraShape(rank=8, alpha=16.0)
    optimizer: Optimizer = Optimizer(lr=2e-3)
    epochs: int = Field(6, ge=1)
    """Passes over a self-edit's examples."""
    batch_size: int = Field(1, ge=1)
    """Examples of one optimizer step."""
    format: Literal["chat", "plain"] = "chat"
    """How examples with a prompt are shown: in the model's chat template, or as plain text. A model without a template always takes `plain`."""


@inner("lora", label="LoRA", means="supervised fine-tuning of a LoRA on the examples of the self-edit", settings=LoraSettings)
class Lora(InnerLoop):
    """One training job for each self-edit."""

    @property
    def epochs(self) -> int:
        """Those of the settings."""
        return int(self.settings.epochs)

    @property
    def plain(self) -> bool:
        """As its format says: questions are asked as examples were learned."""
        return bool(self.settings.format == "plain")

    def directives(self) -> Mapping[str, float]:
        """Epochs and learning rate."""
        return {"epochs": self.settings.epochs, "lr": self.settings.optimizer.lr}

    def job(self, render: Renderer, examples: Sequence[Example], seed: int, directives: Directives = (), epochs: int | None = None) -> TrainJob:
        """The settings with what the self-edit's directives change."""
        s, said = self.settings, {**self.directives(), **dict(directives)}
        data = tuple(render.datum(e) for e in examples)
        optimizer = replace(s.optimizer, lr=float(said["lr"]))
        return TrainJob(data, s.lora, optimizer, epochs or int(said["epochs"]), s.batch_size, seed)
