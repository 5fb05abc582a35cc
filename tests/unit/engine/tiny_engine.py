"""Tiny models in an engine, the same models in plain transformers and PEFT, and data for them."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from peft import PeftModel
from torch import Tensor

from selfedit.engine.settings import TorchSettings
from selfedit.engine.torch.engine import Torch
from selfedit.models import Family, load, tiny
from selfedit.types import Adapter, Datum, LoraShape, Optimizer, Tokens, Trained, TrainJob

FAMILIES: tuple[Family, ...] = get_args(Family)
RANK_4 = LoraShape(4, 8.0)
LOUD = LoraShape(4, 32.0)
VOCABULARY = 280


@cache
def root() -> TemporaryDirectory[str]:
    """Gone when the process ends."""
    return TemporaryDirectory(prefix="selfedit-tests-")


@cache
def folder(family: Family) -> Path:
    return tiny(family, Path(root().name) / family, vocab_size=VOCABULARY, hidden=32)


def engine(family: Family = "llama", dtype: torch.dtype = torch.float64, **settings: Any) -> Torch:
    model, tokenizer = load(folder(family), dtype)
    return Torch(model, tokenizer, TorchSettings(**settings), name=str(folder(family)))


def reference(family: Family = "llama", dtype: torch.dtype = torch.float64, attention: str = "") -> Any:
    """The same model as transformers runs it. Its eager attention takes the softmax in fp32 even of an fp64 model, so fp64 goes through SDPA."""
    model, _ = load(folder(family), dtype)
    model.set_attn_implementation(attention or ("sdpa" if dtype == torch.float64 else "eager"))
    return model


def with_peft(family: Family, adapter_folder: Path, dtype: torch.dtype) -> Any:
    """The reference with an exported adapter, as PEFT opens it."""
    return PeftModel.from_pretrained(reference(family, dtype), str(adapter_folder)).eval()


def prose(rng: random.Random, length: int) -> Tokens:
    return tuple(rng.randrange(5, VOCABULARY) for _ in range(length))


def datum(rng: random.Random, length: int, prompt: int = 0) -> Datum:
    """Random tokens, the first `prompt` of which are not learned."""
    return Datum(prose(rng, length), (0.0,) * prompt + (1.0,) * (length - prompt))


def job(seed: int, lengths: tuple[int, ...] = (12, 7, 20, 16, 5), lora: LoraShape = RANK_4, **options: Any) -> TrainJob:
    rng = random.Random(seed)
    return TrainJob(tuple(datum(rng, n, prompt=n // 4) for n in lengths), lora=lora, seed=seed, **options)


def flat(machine: Torch, result: Trained | Adapter | None) -> Tensor:
    """All numbers of an adapter, scale included, on the CPU."""
    adapter = result.adapter if isinstance(result, Trained) else result
    assert adapter is not None, result
    w = machine._adapters[adapter.id]
    return torch.cat([torch.tensor([w.scale])] + [z.reshape(-1).cpu() for z in (*w.down, *w.up) if z is not None])


def distance(a: Tensor, b: Tensor) -> float:
    """Relative norm of a difference."""
    return float(((a - b).double().norm() / b.double().norm()).detach())


def loud(machine: Torch, seed: int = 0, lora: LoraShape = LOUD) -> Adapter:
    """An adapter with random B, strong enough to change what the model says."""
    [trained] = machine.train([job(seed, lora=lora, optimizer=Optimizer(lr=1e-3))])
    assert trained.adapter is not None
    generator = torch.Generator().manual_seed(seed)
    for up in machine._adapters[trained.adapter.id].up:
        if up is not None:
            up.copy_(torch.randn(up.shape, generator=generator) * 0.1)
    return trained.adapter


@torch.no_grad()
def plain_logprobs(model: Any, prompt: Tokens, completion: Tokens) -> Tensor:
    """Log-probabilities of a completion by a plain forward pass."""
    logits = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
    places = torch.arange(len(prompt) - 1, len(prompt) + len(completion) - 1)
    return logits[places, torch.tensor(completion, dtype=torch.long)]
