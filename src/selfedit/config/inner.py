"""How self-edits are written, and what an adapter is trained on one with."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

from pydantic import Field, field_validator

from selfedit.config.base import Settings
from selfedit.types import Drawing, LoraShape, Optimizer

MIXED = "+"
"""Between the names of strategies that one self-edit combines."""
MOST_CHOICES = 64
"""Self-edits are numbered in steps of this: see `cells.STRIDE`."""


class Propose(Settings):
    """How the policy writes self-edits."""

    strategies: tuple[str, ...] = Field(("sentence-qa",), min_length=1)
    """How self-edits may be written: `selfedit show strategies` lists them, and `self-qa+key-facts` is a self-edit made of both."""
    pick: Literal["turns", "policy"] = "turns"
    """`turns`: the candidates of a task take the strategies in turn. `policy`: the policy picks, and learns to pick as it learns to write."""
    mix: int = Field(1, ge=1)
    """Different strategies that a self-edit is made of: with 2, every pair of them is something to pick."""
    spans: int = Field(15, ge=1, le=30)
    """Most short answers of a passage that `span-qa` and `sentence-qa` ask about, sentence by sentence."""
    candidates: int = Field(3, ge=1, le=64)
    """Self-edits a task (K)."""
    sampling: Drawing = Drawing(max_tokens=256, temperature=0.7, top_p=0.95)
    """SEAL samples at temperature 1; a small writer then makes things up."""

    @field_validator("sampling", mode="before")
    @classmethod
    def _of_older_runs(cls, sampling: Any) -> Any:
        """Their recipes name a seed here, which decided nothing."""
        return {key: value for key, value in sampling.items() if (key, value) != ("seed", 0)} if isinstance(sampling, dict) else sampling

    @property
    def choices(self) -> tuple[str, ...]:
        """What there is to pick from, C names: each strategy or, with `mix`, each combination, in the order of the strategies."""
        return tuple(MIXED.join(some) for some in combinations(self.strategies, self.mix))


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
