"""The engine protocol: few verbs, each takes many at once. Batching is the engine's business; order and neighbours never change a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from selfedit.errors import ConfigError, EngineError
from selfedit.types import Adapter, Completion, SampleRequest, Score, ScoreRequest, Tokens, Trained, TrainJob

Progress = Callable[[int, int], None]
"""Called now and then with (units done, units in all) of the running call."""

LOSSES: Mapping[str, Mapping[str, float]] = {
    "cross_entropy": {},
    "reinforce": {"kl": 0.0},
    "ppo": {"clip": 0.2, "clip_high": 0.2, "kl": 0.0},
    "grpo": {"clip": 0.2, "clip_high": 0.2, "kl": 0.0, "token_mean": 0.0, "max_tokens": 0.0},
    "dpo": {"beta": 0.1},
}
"""The losses that every engine has, and the options of each with their defaults. `kl` is the weight of the divergence from the reference."""


def loss_options(job: TrainJob) -> dict[str, float]:
    """Every option of a job's loss."""
    return {**LOSSES[job.loss], **job.loss_options}


def check_loss(job: TrainJob) -> None:
    """Raises ConfigError for a loss or an option that does not exist, EngineError for data that lack what the loss needs."""
    if job.loss not in LOSSES:
        raise ConfigError(f"there is no loss {job.loss!r}; the losses are {', '.join(LOSSES)}")
    if unknown := set(job.loss_options) - set(LOSSES[job.loss]):
        raise ConfigError(f"the loss {job.loss} has no option {sorted(unknown)[0]!r}; it has {', '.join(LOSSES[job.loss]) or 'none'}")
    if job.groups and (sum(job.groups) != len(job.data) or min(job.groups) < 1):
        raise EngineError(f"groups of {sum(job.groups)} sequences in all do not divide {len(job.data)}; each has at least one")
    needed = {"reference_logprobs"} if job.loss != "cross_entropy" else set()
    needed |= {"old_logprobs"} if job.loss in ("ppo", "grpo") else set()
    for name in sorted(needed):
        if any(len(getattr(d, name)) != len(d.tokens) for d in job.data):
            raise EngineError(f"the loss {job.loss} needs {name} for every token of its sequences")


class Tokenizer(Protocol):
    """Text to token ids and back."""

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` may be used."""
        ...

    @property
    def end(self) -> Tokens:
        """The token that ends a turn, or nothing where the model has none."""
        ...

    def encode(self, text: str) -> Tokens:
        """Plain text; with the token that begins a text, where the model has one."""
        ...

    def encode_more(self, text: str) -> Tokens:
        """Text that follows other text: no beginning token."""
        ...

    def chat(self, user: str) -> Tokens:
        """One user turn in the model's chat template, up to where the answer begins."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        ...


class Engine(Protocol):
    """A base model and the adapters that live on it."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        ...

    @property
    def context_tokens(self) -> int:
        """The longest sequence the model takes, tokens."""
        ...

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        """Draw one completion for each request, in their order."""
        ...

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        """Train one adapter for each job, in their order. A job that diverges fails alone."""
        ...

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of given completions, in their order."""
        ...

    def merge(self, adapter: Adapter) -> None:
        """Add the adapter to the current weights."""
        ...

    def export(self, adapter: Adapter, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        ...

    def load(self, folder: Path) -> Adapter:
        """Read an adapter in PEFT's format."""
        ...

    def drop(self, adapter: Adapter) -> None:
        """Forget the adapter."""
        ...

    def reset(self) -> None:
        """Undo every merge: exactly the starting weights."""
        ...
