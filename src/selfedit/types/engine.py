"""What engines are asked for and give back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Annotated, ClassVar, Literal, Protocol

from annotated_types import Ge, Gt, Le, Lt

Tokens = tuple[int, ...]
"""Token ids of one sequence, length T."""

TopTokens = tuple[Tokens, tuple[float, ...]]
"""The likeliest next tokens, the likeliest first, and their log-probabilities in nats, as many."""


Progress = Callable[[int, int], None]
"""Called now and then with (units done, units in all) of the running call."""

Say = Callable[[str], None]
"""Called with one line of news."""


class Watch(Protocol):
    """Who is told how the work goes on."""

    def stage(self, title: str) -> AbstractContextManager[Progress]:
        """A piece of work by its name, while it goes on."""
        ...

    def say(self, text: str) -> None:
        """One line of news."""
        ...


@dataclass(frozen=True, slots=True)
class Adapter:
    """A handle on a LoRA that lives in an engine."""

    id: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a text is drawn."""

    max_tokens: Annotated[int, Ge(1)] = 64
    """Most tokens of a text."""
    temperature: Annotated[float, Ge(0), Lt(inf)] = 0.0
    """Logits are divided by it; 0 takes the likeliest token (greedy)."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    """Only the likeliest tokens that together have this much of the probability (nucleus sampling); 1 leaves none out."""
    top_k: Annotated[int, Ge(0)] = 0
    """Only so many of the likeliest tokens; 0 leaves none out."""
    repetition_penalty: Annotated[float, Gt(0), Lt(inf)] = 1.0
    """What the logits of tokens that stand there already are divided by, or multiplied where negative (CTRL); 1 changes nothing."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these strings."""
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Sampling(Drawing):
    """How a completion is drawn. `seed` belongs to the request: neighbours never matter."""

    seed: int = 0


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """`prompt` (T,) token ids; `adapter` None is the model's current weights."""

    prompt: Tokens
    sampling: Sampling = Sampling()
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What was drawn. `tokens` and `logprobs` (nats, under the model at temperature 1) are (T,), one for every token that was drawn.

    `finish_reason` "stop": an end token, which is the last of `tokens`, or a stop string, whose tokens are the last ones. `text` holds neither.
    "length": `max_tokens` were drawn.
    """

    text: str
    tokens: Tokens
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """How likely is `completion` (T,) after `prompt` (at least one token)? `top` likeliest tokens are wanted at each of its positions."""

    prompt: Tokens
    completion: Tokens
    adapter: Adapter | None = None
    top: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """`logprobs` (T,) in nats, one for each token of the completion; NaN where the adapter makes the model overflow.

    `top` (T,), empty unless it was asked for: the likeliest tokens at each position, given what stands before it. Equally likely ones stand in the
    order of their index. There are fewer than asked for where the vocabulary is smaller.
    """

    logprobs: tuple[float, ...]
    top: tuple[TopTokens, ...] = ()

    @property
    def mean(self) -> float:
        """Mean log-probability a token, nats."""
        return sum(self.logprobs) / len(self.logprobs)


@dataclass(frozen=True, slots=True)
class Datum:
    """One training sequence: `tokens` (T,) and `weights` (T,), the weight of the loss of predicting each token (the first is never predicted).

    `old_logprobs` and `reference_logprobs` (T,), under the policy that wrote it and the reference, and `advantage` serve the losses that learn
    from rewards and stay empty for SFT. The sides of a `dpo` pair are told apart by the sign of `advantage`.

    `teacher` (T,), empty where there is none, serves the loss `distill`: what the teacher expects in place of each token, given what stands before
    it. `()` stands where it says nothing. `((),) * len(prompt) + score.top` makes it of a Score of the teacher.
    """

    tokens: Tokens
    weights: tuple[float, ...]
    old_logprobs: tuple[float, ...] = ()
    reference_logprobs: tuple[float, ...] = ()
    advantage: float = 0.0
    teacher: tuple[TopTokens | tuple[()], ...] = ()


@dataclass(frozen=True, slots=True)
class LoraShape:
    """The shape of a LoRA."""

    rank: Annotated[int, Ge(1)] = 16
    """Rank of the update."""
    alpha: Annotated[float, Gt(0), Lt(inf)] = 32.0
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("all",)
    """Names of the linear layers it is added to, such as `q_proj`; `all` is every one of the blocks."""
    layers: tuple[Annotated[float, Ge(0), Le(1)], Annotated[float, Ge(0), Le(1)]] = (0.0, 1.0)
    """From where to where in the model's depth: `(0.5, 1.0)` is the last half of its blocks, rounded to whole ones, at least one."""
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW."""

    lr: Annotated[float, Gt(0), Lt(inf)] = 1e-3
    """The highest learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate decays to zero at the last step; `constant` does not."""
    warmup_steps: Annotated[int, Ge(0)] = 0
    """Steps in which the learning rate rises from zero, linearly."""
    weight_decay: Annotated[float, Ge(0), Lt(inf)] = 0.0
    """Decoupled weight decay, multiplied by the learning rate."""
    clip: Annotated[float, Ge(0)] = 1.0
    """The greatest global norm of the gradient; 0 leaves it as it is."""
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Decay of the mean of gradients."""
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    """Decay of the mean of squared gradients."""
    eps: Annotated[float, Gt(0), Lt(inf)] = 1e-8
    """Added to the root of the mean of squares."""
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Fisher(Adapter):
    """A handle on the diagonal of a Fisher information: a number for each weight of an adapter. It lives in an engine as adapters do."""


@dataclass(frozen=True, slots=True)
class EWC:
    """A penalty on moving away from an adapter (elastic weight consolidation, Kirkpatrick et al. 2017, arXiv 1612.00796, eq. 3).

    It is strength / 2 · Σ F (θ - θ*)² over the weights θ of A and B: θ* are those of `around`, F is `fisher`.
    """

    strength: Annotated[float, Ge(0), Lt(inf)]
    around: Adapter
    fisher: Fisher

    @property
    def uses(self) -> tuple[Adapter, ...]:
        """The adapters that have to be in the engine."""
        return self.around, self.fisher

    @property
    def alike(self) -> tuple[Adapter, ...]:
        """Those that have the shape of the job's own adapter."""
        return self.uses


@dataclass(frozen=True, slots=True)
class OLoRA:
    """A penalty on what an adapter's A has in common with the A of earlier ones (O-LoRA, arXiv 2310.14152, eq. 7 and 8).

    It is strength · Σ ‖A_earlier Aᵀ‖², the sum of all squared entries, over the earlier adapters and their linear layers. They may have any rank.
    """

    strength: Annotated[float, Ge(0), Lt(inf)]
    earlier: tuple[Adapter, ...]

    @property
    def uses(self) -> tuple[Adapter, ...]:
        """The adapters that have to be in the engine."""
        return self.earlier

    @property
    def alike(self) -> tuple[Adapter, ...]:
        """None has to have the shape of the job's own adapter."""
        return ()


Penalty = EWC | OLoRA
"""What is added to the loss of every optimizer step, nats, for the weights of the adapter alone."""


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Train one adapter. A step sees `batch_size` actions; order and initialisation come from `seed`.

    `groups` are the sizes of the runs of sequences that are one action, learned from in one step (the turns of a self-edit, the two sides of a
    pair); without any, each sequence is one. `loss` with its options is one of `engine.losses.LOSSES`.

    `start` is an adapter of the shape `lora` whose weights training goes on from; None begins at random, as LoRA does. `penalties` are added to
    the loss. Both name adapters by handles, which say nothing outside their engine, so `repr` leaves them out.
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
    start: Adapter | None = field(default=None, repr=False)
    penalties: tuple[Penalty, ...] = field(default=(), repr=False)

    @property
    def uses(self) -> tuple[Adapter, ...]:
        """The adapters that have to be in the engine."""
        return (*([self.start] if self.start else []), *(adapter for penalty in self.penalties for adapter in penalty.uses))

    @property
    def alike(self) -> tuple[Adapter, ...]:
        """Those of them that have the shape of the job's own adapter."""
        return (*([self.start] if self.start else []), *(adapter for penalty in self.penalties for adapter in penalty.alike))

    @property
    def tokens(self) -> int:
        """What is trained on in all epochs."""
        return self.epochs * sum(len(datum.tokens) for datum in self.data)

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.epochs * ceil(len(self.groups or self.data) / self.batch_size)


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a TrainJob: the loss of every step, and an adapter, or None with the reason in `failure`.

    `metrics` of losses that have any, one value a step: `kl` to the reference or the teacher (nats a token), `clip_fraction`, `ratio`, `margin`,
    `accuracy`; and `penalty`, the part of the loss that is penalties, where the job has some.
    """

    adapter: Adapter | None
    losses: tuple[float, ...]
    tokens: int
    failure: str | None = None
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
