"""What engines are asked for and give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Tokens = tuple[int, ...]
"""Token ids of one sequence, length T."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A handle on a LoRA that lives in an engine."""

    id: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn. `temperature` 0 is greedy. `seed` belongs to the request: neighbours never matter."""

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """`prompt` (T,) token ids; `adapter` None is the model's current weights."""

    prompt: Tokens
    sampling: Sampling = Sampling()
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """`tokens` and `logprobs` (nats, under the model at temperature 1) are (T,), without the end token; `text` ends before a stop string."""

    text: str
    tokens: Tokens
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """How likely is `completion` (T,) after `prompt` (at least one token)?"""

    prompt: Tokens
    completion: Tokens
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """`logprobs` (T,) in nats, one for each token of the completion."""

    logprobs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean log-probability a token, nats."""
        return sum(self.logprobs) / len(self.logprobs)


@dataclass(frozen=True, slots=True)
class Datum:
    """One training sequence: `tokens` (T,) and `weights` (T,), the weight of the loss of predicting each token (the first is never predicted).

    `old_logprobs` and `reference_logprobs` (T,), under the policy that wrote it and the reference, and `advantage` serve the losses that learn
    from rewards and stay empty for SFT. The sides of a `dpo` pair are told apart by the sign of `advantage`.
    """

    tokens: Tokens
    weights: tuple[float, ...]
    old_logprobs: tuple[float, ...] = ()
    reference_logprobs: tuple[float, ...] = ()
    advantage: float = 0.0


@dataclass(frozen=True, slots=True)
class LoraShape:
    """Rank, alpha (the update is scaled by alpha / rank) and the names of the linear layers it is added to; `all` is every one of the blocks."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ("all",)
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW. `schedule` decays to zero at the last step, after `warmup_steps` of linear warm-up. `clip` is the global norm, 0 for none."""

    lr: float = 1e-3
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Train one adapter. A step sees `batch_size` actions; order and initialisation come from `seed`.

    `groups` are the sizes of the runs of sequences that are one action, learned from in one step (the turns of a self-edit, the two sides of a
    pair); without any, each sequence is one. `loss` with its options is one of `engine.base.LOSSES`.
    """

    data: tuple[Datum, ...]
    lora: LoraShape = LoraShape()
    optimizer: Optimizer = Optimizer()
    epochs: int = 1
    batch_size: int = 1
    seed: int = 0
    loss: str = "cross_entropy"
    loss_options: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a TrainJob: the loss of every step, and an adapter, or None with the reason in `failure`.

    `metrics` of losses that have any, one value a step: `kl` to the reference (nats a token), `clip_fraction`, `ratio`, `margin`, `accuracy`.
    """

    adapter: Adapter | None
    losses: tuple[float, ...]
    tokens: int
    failure: str | None = None
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
