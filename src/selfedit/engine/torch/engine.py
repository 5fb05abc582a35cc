"""The embedded engine: one frozen model in this process, and every adapter that lives on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from selfedit.engine.base import Tokenizer
from selfedit.engine.losses import check_loss
from selfedit.engine.settings import TorchSettings
from selfedit.engine.torch import descent, fisher, generate, hardware, peft, score, train, varlen, vectors
from selfedit.engine.torch.bank import Weights, summed
from selfedit.engine.torch.budget import CACHE_TOKENS, MOST_TOKENS, cache_tokens, token_bytes
from selfedit.engine.torch.fallback import make_base
from selfedit.engine.torch.model import context_tokens, end_tokens
from selfedit.engine.torch.penalties import check_shapes
from selfedit.errors import ConfigError, EngineError
from selfedit.types import Adapter, Completion, Datum, Fisher, Progress, SampleRequest, Score, ScoreRequest, Tokens, Trained, TrainJob, VectorEdit


class Torch:
    """Implements `selfedit.engine.base.Engine` with batched multi-LoRA training, sampling and scoring."""

    def __init__(self, model: Any, tokenizer: Tokenizer, settings: TorchSettings, name: str = "") -> None:
        self.base, self.slow = make_base(model)
        """`slow`: why the model takes the slow way, empty where it does not."""
        self.tokenizer = tokenizer
        self.settings = settings
        self.name = name
        self.ends = end_tokens(model) | tokenizer.ends
        self.context_tokens = context_tokens(model)
        self.on_gpu = hardware.on_gpu(self.base.device)
        if self.on_gpu:  # products of adapters add up many rows, and are rounded to bf16 once
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        self._switch_on(settings)
        self.budget_tokens = settings.budget_tokens or (1 if self.slow else 0 if self.on_gpu else 1024)
        """Of a pass; 0: by the memory of the device. The slow way gains nothing from large passes."""
        self._adapters: dict[str, Weights] = {}
        self._made = 0
        self.bases = vectors.Bases(self.base)
        """Of edit vectors."""

    def _switch_on(self, settings: TorchSettings) -> None:
        """Which of the faster ways are taken. Raises EngineError for one that is wanted and cannot be."""
        flash = hardware.Switch("engine.varlen", settings.varlen, not self.slow and hardware.has_flash(self.base.like))
        repeatable = not self.slow and hardware.has_graphs(self.base.device)
        graphs, training = (hardware.Switch(f"engine.graphs{what}", settings.graphs, repeatable) for what in ("", " in training"))
        for switch in (flash, graphs, training):
            if self.slow and switch.active:
                switch.fail("the model runs the slow way")
        self.base.flash, self.base.graphs, self.base.training_graphs = varlen.usable(self.base, flash), graphs, training

    @property
    def workers(self) -> int:
        """Threads that each take a share of a call: one a core on a CPU."""
        return 1 if self.on_gpu else torch.get_num_threads()

    @property
    def cache_tokens(self) -> int:
        """Tokens that the key-value cache of a call holds."""
        return self.settings.cache_tokens or (cache_tokens(self._token_bytes, hardware.free_bytes(self.base.device)) if self.on_gpu else CACHE_TOKENS)

    @cached_property
    def _token_bytes(self) -> int:
        return token_bytes(self.base)

    @property
    def layers(self) -> int:
        """How many decoder layers the model has."""
        return self.base.count

    def _add(self, weights: Weights) -> Adapter:
        self._made += 1
        adapter = Adapter(f"adapter-{self._made}")
        self._adapters[adapter.id] = weights
        return adapter

    def _get(self, adapter: Adapter) -> Weights:
        if adapter.id not in self._adapters:
            raise EngineError(f"{adapter.id} is not in the engine: it was dropped, or belongs to another")
        return self._adapters[adapter.id]

    def _fits(self, length: int, what: str) -> None:
        if length > self.context_tokens:
            raise EngineError(f"{what} of {length} tokens is longer than the {self.context_tokens} this model takes; use shorter passages")

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        """Draw one completion for each request, in their order."""
        for r in requests:
            self._fits(len(r.prompt) + r.sampling.max_tokens, "a prompt with its completion")
            if not r.prompt or r.sampling.max_tokens < 1:
                raise EngineError("sampling needs at least one token of prompt and one to write")
            if r.adapter:
                self._get(r.adapter)
        cache = self.cache_tokens
        return generate.sample(
            self.base, self.tokenizer, self.ends, self._adapters, requests, cache, self.budget_tokens or MOST_TOKENS, self.workers, progress
        )

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        """Train one adapter for each job, in their order. A job that diverges fails alone."""
        for job in jobs:
            check_loss(job)
            if min(job.epochs, job.batch_size, job.lora.rank) < 1:
                raise ConfigError(f"epochs ({job.epochs}), batch_size ({job.batch_size}) and rank ({job.lora.rank}) are at least 1")
            for adapter in job.uses:
                self._get(adapter)
            check_shapes(job, set(self.base.targeted(job.lora)), self._adapters)
            self._check_data(job.data)
        outcomes = train.train(self.base, jobs, self.settings.slots, self.budget_tokens, self.workers, progress, self._adapters)
        return [Trained(self._add(o.weights) if o.weights else None, o.losses, o.tokens, o.failure, o.metrics) for o in outcomes]

    def _check_data(self, data: Sequence[Datum]) -> None:
        for d in data:
            self._fits(len(d.tokens), "a training sequence")
            if not d.tokens or len(d.weights) != len(d.tokens):
                raise EngineError(f"a training sequence has {len(d.tokens)} tokens and {len(d.weights)} weights; every token needs one")

    def descent(self, data: Sequence[Datum], layers: Sequence[int], rank: int, progress: Progress | None = None) -> Adapter:
        """A short step of steepest descent of the data's mean loss, as an adapter."""
        self._check_data(data)
        if not any(w for d in data for w in d.weights[1:]):
            raise EngineError("a step of descent needs data with at least one token that is learned")
        self.bases.check(layers)
        sites = {site for site, layer in enumerate(self.base.site_layers) if layer in layers}
        return self._add(descent.descent(self.base, data, sites, rank, self.budget_tokens or MOST_TOKENS, self.workers, progress))

    def fisher(self, adapter: Adapter, data: Sequence[Datum], before: Fisher | None = None) -> Fisher:
        """The diagonal of the empirical Fisher information of an adapter's weights, with `before` added."""
        self._check_data(data)
        if not data:
            raise EngineError("a Fisher information needs at least one sequence")
        weights, earlier = self._get(adapter), self._get(before) if before else None
        if earlier and (earlier.rank, earlier.sites) != (weights.rank, weights.sites):
            raise EngineError(
                f"the Fisher information before is of an adapter of rank {earlier.rank} on {len(earlier.sites)} linear layers, not of this shape"
            )
        found = fisher.fisher(self.base, weights, data, self.settings.slots, self.budget_tokens or MOST_TOKENS, self.workers)
        if earlier:
            for mine, theirs in zip((*found.down, *found.up), (*earlier.down, *earlier.up), strict=True):
                if mine is not None and theirs is not None:
                    mine += theirs
        return Fisher(self._add(found).id)

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of given completions, in their order."""
        for r in requests:
            self._fits(len(r.prompt) + len(r.completion), "a prompt with its completion")
            if not r.prompt:
                raise EngineError("a score needs at least one token of prompt")
            if r.top < 0:
                raise EngineError(f"top = {r.top}: it is how many of the likeliest tokens are wanted")
            if r.adapter:
                self._get(r.adapter)
        budget = self.budget_tokens or MOST_TOKENS
        return score.score(self.base, self._adapters, requests, self.cache_tokens, budget, self.workers, progress)

    def read(self, texts: Sequence[Tokens], progress: Progress | None = None) -> list[tuple[float, ...]]:
        """The mean of the last hidden states over the tokens of each text, in their order."""
        for text in texts:
            self._fits(len(text), "a text to read")
            if not text:
                raise EngineError("there is nothing to read in an empty text")
        return vectors.read(self.base, texts, self.workers, progress)

    def make(self, edit: VectorEdit, basis: Adapter | None = None) -> Adapter:
        """The adapter that an edit vector stands for: a LoRA of the edit's rank."""
        return self._add(self.bases.weights(edit, self._get(basis) if basis else None))

    def merge(self, adapter: Adapter) -> None:
        """Add the adapter to the current weights."""
        self.base.merge(self._get(adapter))

    def scaled(self, adapter: Adapter, scale: float) -> Adapter:
        """Another adapter on the same matrices, whose alpha is `scale` times as large."""
        weights = self._get(adapter)
        return self._add(replace(weights, scale=weights.scale * scale))

    def summed(self, adapters: Sequence[Adapter]) -> Adapter:
        """Another adapter with the ranks of all of these side by side."""
        return self._add(summed([self._get(adapter) for adapter in adapters]))

    def export(self, adapter: Adapter, folder: Path) -> None:
        """Write the adapter in PEFT's format."""
        peft.export(self._get(adapter), self.base, self.name, folder)

    def load(self, folder: Path) -> Adapter:
        """Read an adapter in PEFT's format."""
        return self._add(peft.load(self.base, folder))

    def drop(self, adapter: Adapter) -> None:
        """Forget the adapter."""
        self._adapters.pop(adapter.id, None)

    def reset(self) -> None:
        """Undo every merge: exactly the starting weights."""
        self.base.reset()

    def norms(self) -> Mapping[str, float]:
        """The Frobenius norm of every weight that an adapter may be added to, by the name of its layer."""
        return {site.name: float(linear.weight.float().norm()) for site, linear in zip(self.base.sites, self.base.linears, strict=True)}


def pick_device(wanted: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises EngineError for a GPU that is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(f"engine.device: {wanted!r} is no device; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"engine.device is {wanted}, but torch sees no GPU here; use --engine.device cpu")
    return device


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the processor multiplies it fast, else float32."""
    if wanted != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}[wanted]
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32
