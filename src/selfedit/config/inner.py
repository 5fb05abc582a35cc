"""How self-edits are written, and what an adapter is trained on one with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from selfedit.config.base import Settings
from selfedit.types import LoraShape, Optimizer, Sampling


class Propose(Settings):
    """How the policy writes self-edits."""

    strategies: tuple[str, ...] = ("sentence-qa",)
    """Taken in turn by the candidates of a task. `selfedit show strategies` lists them."""
    candidates: int = Field(3, ge=1, le=64)
    """Self-edits a task (K)."""
    sampling: Sampling = Sampling(max_tokens=256, temperature=0.7, top_p=0.95)
    """SEAL samples at temperature 1; a small writer then makes things up."""


class Inner(Settings):
    """The inner loop: one adapter trained on one self-edit."""

    lora: LoraShape = LoraShape(rank=8, alpha=16.0)
    optimizer: Optimizer = Optimizer(lr=2e-3)
    epochs: int = Field(6, ge=1)
    """Passes over a self-edit's examples."""
    batch_size: int = Field(1, ge=1)
    """Examples of one optimizer step."""
    format: Literal["chat", "plain"] = "chat"
    """How examples with a prompt are shown: in the model's chat template, or as plain text. A model without a template always takes `plain`."""
    seeds: int = Field(1, ge=1)
    """Adapters trained on each self-edit with different seeds, the same ones for all self-edits of a passage; the reward is their mean."""
