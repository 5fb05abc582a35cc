"""How the policy learns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from selfedit.config.base import Settings
from selfedit.types import LoraShape, Optimizer


class Outer(Settings):
    """How the policy is trained, whatever it learns from."""

    lora: LoraShape = LoraShape(rank=64, alpha=128.0)
    optimizer: Optimizer = Optimizer(lr=3e-4)
    epochs: int = Field(1, ge=1)
    """Passes over the self-edits of a round."""
    batch_size: int = Field(10, ge=1)
    """Self-edits (of `dpo` pairs of them; of `rest_em` and a cold start prompts with their completions) of one optimizer step."""


class RestEM(Outer):
    """ReST-EM: SFT on the best self-edits of each task, merge, repeat (Singh et al. 2023; SEAL section 3.1)."""

    type: Literal["rest_em"] = "rest_em"
    select: Literal["best", "above"] = "best"
    """Learn from the best self-edits of each task, or from all whose reward is above `threshold`."""
    keep: int = Field(1, ge=1)
    """Best self-edits of each task that are learned from."""
    threshold: float = 0.0
    """With `above`: the reward a self-edit has to exceed."""
    epochs: int = Field(2, ge=1)
    """Passes over the self-edits of a round."""
    restart: bool = False
    """Teach the starting policy anew after every round, as Singh et al. do, so that it cannot drift; otherwise the last round's goes on."""


class Reinforce(Outer):
    """REINFORCE with a leave-one-out baseline (RLOO: Ahmadian et al. 2024): the policy gradient itself, without a clip."""

    type: Literal["reinforce"] = "reinforce"
    kl: float = Field(0.05, ge=0)
    """Weight of the divergence from the starting policy, as a term of the loss."""


class PPO(Outer):
    """PPO (Schulman et al. 2017): several epochs under a clipped ratio, the divergence kept near a target; the group is the baseline."""

    type: Literal["ppo"] = "ppo"
    epochs: int = Field(4, ge=1)
    """Passes over the self-edits of a round."""
    clip: float = Field(0.2, gt=0, lt=1)
    """The ratio of new to old probability counts between 1 - clip and 1 + clip."""
    kl: float = Field(0.05, ge=0)
    """Weight of the divergence from the starting policy in the first round."""
    kl_target: float = Field(0.05, ge=0)
    """Divergence wanted, nats a token: before each later update the weight is doubled or halved where it was missed by half; 0 keeps the weight."""


class GRPO(Outer):
    """GRPO (Shao et al. 2024): PPO's clip, advantages normalised within each group; with options for Dr. GRPO and DAPO."""

    type: Literal["grpo"] = "grpo"
    clip: float = Field(0.2, gt=0, lt=1)
    """The ratio of new to old probability counts down to 1 - clip."""
    clip_high: float = Field(0.2, gt=0)
    """And up to 1 + clip_high; DAPO takes 0.28."""
    kl: float = Field(0.04, ge=0)
    """Weight of the divergence from the starting policy."""
    scale: bool = True
    """Divide advantages by the standard deviation of the group; Dr. GRPO does not."""
    normalise: Literal["sequence", "tokens", "constant"] = "sequence"
    """A mean over self-edits of means over their tokens, a mean over all tokens (DAPO), or sums over a constant length (Dr. GRPO)."""


class DPO(Outer):
    """DPO (Rafailov et al. 2023) in on-policy rounds: the best self-edit of each task against the worst."""

    type: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held to the starting policy: larger holds more."""


class Evolve(Outer):
    """Evolution: each round several LoRAs learn the passages from self-edits, the best is merged; in the end its data fine-tune the model."""

    type: Literal["evolve"] = "evolve"
    epochs: int = Field(2, ge=1)
    """Passes over what has accumulated, in the last round."""


class Archive(Settings):
    """The Darwin Gödel Machine's search over strategies (Zhang et al. 2025): the model mutates them, all stay, `rounds` is how many it writes."""

    type: Literal["archive"] = "archive"
    steepness: float = Field(10.0, gt=0)
    """How much more likely a higher mean reward is to be a parent: λ of the sigmoid."""
    midpoint: float = 0.5
    """Mean reward at which the sigmoid is one half."""


class Bandit(Settings):
    """A bandit over the strategies: the better are drawn more often, the best is measured. The policy is not updated: a simple baseline."""

    type: Literal["bandit"] = "bandit"
    rule: Literal["thompson", "ucb1"] = "thompson"
    """Thompson sampling (Thompson 1933) from normal posteriors, or the upper confidence bounds of UCB1 (Auer et al. 2002)."""


Searching = Archive | Bandit
"""Algorithms that look for a better strategy and leave the weights alone."""
AlgorithmSettings = Annotated[RestEM | Reinforce | PPO | GRPO | DPO | Evolve | Archive | Bandit, Field(discriminator="type")]


class ColdStart(Outer):
    """Before the first round of `train`: SFT of the policy on good self-edits, for models that write too badly to begin with."""

    enabled: bool = False
    """Show the policy good self-edits first. It has a row of its own in the table."""
    examples: tuple[Path, ...] = ()
    """JSONL files with title, context and either the completion to learn (`strategy` says for which) or questions with answers. Empty: passages of
    the training part of the bundled corpus."""
    passages: int = Field(12, ge=1)
    """Passages of the bundled corpus that are shown; the rounds do without them."""
    epochs: int = Field(2, ge=1)
    """Passes over the good self-edits."""
