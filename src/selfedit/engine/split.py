"""One engine out of two: one that trains and scores, and another, such as a server for sampling only, that writes with what the first has trained."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from selfedit.engine.base import Engine, SamplingEngine, Tokenizer
from selfedit.types import Adapter, Completion, Datum, Fisher, Progress, SampleRequest, Score, ScoreRequest, Tokens, Trained, TrainJob, VectorEdit


class SplitEngine:
    """Implements `selfedit.engine.base.Engine`. Both engines hold the same base model.

    An adapter is handed over the first time it is sampled with or merged: exported by the trainer to a private folder and loaded by the sampler.
    The folder's name is new for every adapter, since servers keep what they computed by that name, and the folder stays until the adapter is dropped.
    """

    def __init__(self, trainer: Engine, sampler: SamplingEngine) -> None:
        self.trainer, self.sampler = trainer, sampler
        self._root = TemporaryDirectory(prefix="selfedit-adapters-")
        self._handed_over: dict[str, tuple[Adapter, Path]] = {}

    @property
    def tokenizer(self) -> Tokenizer:
        """The trainer's tokenizer."""
        return self.trainer.tokenizer

    @property
    def context_tokens(self) -> int:
        """The longest sequence that both engines take, tokens."""
        return min(self.trainer.context_tokens, self.sampler.context_tokens)

    @property
    def layers(self) -> int:
        """The trainer's decoder layers."""
        return self.trainer.layers

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        """Draw one completion for each request, in their order."""
        return self.sampler.sample([replace(r, adapter=self._sampled_with(r.adapter)) if r.adapter else r for r in requests], progress)

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of given completions, in their order."""
        return self.trainer.score(requests, progress)

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        """Train one adapter for each job, in their order."""
        return self.trainer.train(jobs, progress)

    def descent(self, data: Sequence[Datum], layers: Sequence[int], rank: int, progress: Progress | None = None) -> Adapter:
        """A step of steepest descent; made by the trainer, and handed over as trained adapters are."""
        return self.trainer.descent(data, layers, rank, progress)

    def fisher(self, adapter: Adapter, data: Sequence[Datum], before: Fisher | None = None) -> Fisher:
        """The diagonal of the Fisher information of an adapter's weights; it stays with the trainer."""
        return self.trainer.fisher(adapter, data, before)

    def read(self, texts: Sequence[Tokens], progress: Progress | None = None) -> list[tuple[float, ...]]:
        """How the trainer's model reads texts."""
        return self.trainer.read(texts, progress)

    def make(self, edit: VectorEdit, basis: Adapter | None = None) -> Adapter:
        """The adapter that an edit vector stands for; made by the trainer, and handed over as trained ones are."""
        return self.trainer.make(edit, basis)

    def load(self, folder: Path) -> Adapter:
        """Read an adapter in PEFT's format."""
        return self.trainer.load(folder)

    def scaled(self, adapter: Adapter, scale: float) -> Adapter:
        """Another adapter whose update is `scale` times that of this one; made by the trainer, and handed over as trained ones are."""
        return self.trainer.scaled(adapter, scale)

    def summed(self, adapters: Sequence[Adapter]) -> Adapter:
        """Another adapter whose update is the sum of these; made by the trainer, and handed over as trained ones are."""
        return self.trainer.summed(adapters)

    def export(self, adapter: Adapter, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        self.trainer.export(adapter, folder)

    def drop(self, adapter: Adapter) -> None:
        """Forget the adapter on both sides."""
        self.trainer.drop(adapter)
        if adapter.id in self._handed_over:
            copy, folder = self._handed_over.pop(adapter.id)
            self.sampler.drop(copy)
            shutil.rmtree(folder, ignore_errors=True)

    def merge(self, adapter: Adapter) -> None:
        """Add the adapter to the current weights of both sides."""
        copy = self._sampled_with(adapter)
        self.trainer.merge(adapter)
        self.sampler.merge(copy)

    def reset(self) -> None:
        """Undo every merge on both sides."""
        self.trainer.reset()
        self.sampler.reset()

    def norms(self) -> Mapping[str, float]:
        """Of the trainer's weights."""
        return self.trainer.norms()

    def _sampled_with(self, adapter: Adapter) -> Adapter:
        """The sampler's copy of an adapter of the trainer."""
        if adapter.id not in self._handed_over:
            folder = Path(self._root.name) / f"adapter-{uuid4().hex}"
            self.trainer.export(adapter, folder)
            self._handed_over[adapter.id] = self.sampler.load(folder), folder
        return self._handed_over[adapter.id][0]
