"""The engine protocol, five small ones: sample, score, train, read, and keep adapters. Each verb takes many items at once.

Batching is the engine's business; order and neighbours never change a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from selfedit.types import Adapter, Completion, Datum, Fisher, Progress, SampleRequest, Score, ScoreRequest, Tokens, Trained, TrainJob, VectorEdit


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

    @property
    def ends(self) -> frozenset[int]:
        """Every token that ends a text or a turn."""
        ...

    def encode(self, text: str) -> Tokens:
        """Plain text; with the token that begins a text, where the model has one."""
        ...

    def encode_more(self, text: str) -> Tokens:
        """Text that follows other text: no beginning token."""
        ...

    def chat(self, user: str, before: Sequence[tuple[str, str]] = ()) -> Tokens:
        """One user turn in the model's chat template, up to where the answer begins, after the exchanges `before` (user, assistant); the same on
        every day, and without thinking."""
        ...

    def reply(self, text: str) -> Tokens:
        """What the model is to write after `chat`: the text as the template writes an answer, and the token that ends it."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        ...


class Limited(Protocol):
    """Takes sequences up to a length."""

    @property
    def context_tokens(self) -> int:
        """The longest sequence the model takes, tokens."""
        ...


class Sampler(Limited, Protocol):
    """Writes with a base model and the adapters on it."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        ...

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        """Draw one completion for each request, in their order."""
        ...


class Scorer(Limited, Protocol):
    """Says how likely given texts are."""

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of given completions, in their order, with the likeliest tokens where they are wanted.

        Those of an adapter that ruins the model are NaN. The same adapter and text give the same likeliest tokens whatever else is asked.
        """
        ...


class Trainer(Limited, Protocol):
    """Trains adapters."""

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        """Train one adapter for each job, in their order. A job that diverges fails alone.

        Raises EngineError for a job that the engine cannot do as it says: an adapter to go on from, or a penalty, that it has not or does not take.
        """
        ...

    def descent(self, data: Sequence[Datum], layers: Sequence[int], rank: int, progress: Progress | None = None) -> Adapter:
        """A short step of steepest descent of the data's mean loss a token, as an adapter.

        In every linear layer of these decoder layers (from 0) it goes against the gradient, cut to its `rank` largest singular directions.
        """
        ...

    def fisher(self, adapter: Adapter, data: Sequence[Datum], before: Fisher | None = None) -> Fisher:
        """The diagonal of the empirical Fisher information of an adapter's weights, on top of the adapters merged so far.

        It is the mean over the data of the squared gradient of the log-likelihood of what is learned of a sequence, its tokens added up by their
        weights; `before`, of an adapter of the same shape, is added.
        """
        ...


class Reader(Protocol):
    """Says how the model reads texts."""

    def read(self, texts: Sequence[Tokens], progress: Progress | None = None) -> list[tuple[float, ...]]:
        """The mean of the last hidden states over the tokens of each text, in their order, under the current weights."""
        ...


class Adapters(Protocol):
    """Keeps the adapters of a base model, and its current weights."""

    @property
    def layers(self) -> int:
        """How many decoder layers the model has, which edit vectors may change."""
        ...

    def make(self, edit: VectorEdit, basis: Adapter | None = None) -> Adapter:
        """The adapter that an edit vector stands for, made of the adapter `basis` where the edit has one; nothing is trained.

        Raises EngineError for a layer that is not there, or numbers that do not fit.
        """
        ...

    def load(self, folder: Path) -> Adapter:
        """Read an adapter in PEFT's format."""
        ...

    def scaled(self, adapter: Adapter, scale: float) -> Adapter:
        """Another adapter whose update is `scale` times that of this one."""
        ...

    def summed(self, adapters: Sequence[Adapter]) -> Adapter:
        """Another adapter whose update is the sum of these; with several of low rank it has as much rank as all together."""
        ...

    def export(self, adapter: Adapter, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        ...

    def drop(self, adapter: Adapter) -> None:
        """Forget the adapter."""
        ...

    def merge(self, adapter: Adapter) -> None:
        """Add the adapter to the current weights."""
        ...

    def reset(self) -> None:
        """Undo every merge: exactly the starting weights."""
        ...

    def norms(self) -> Mapping[str, float]:
        """The Frobenius norm of every weight that an adapter may be added to, by the name of its layer; nothing where they are not known."""
        ...


class SamplingEngine(Sampler, Adapters, Protocol):
    """Writes, with adapters that were trained elsewhere."""


class Engine(Sampler, Scorer, Trainer, Reader, Adapters, Protocol):
    """A base model and the adapters that live on it: all five."""
