"""The models that are measured: one the package can find, or a shape with random weights that needs no download."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from selfedit.config import Recipe
from selfedit.engine.torch.engine import Torch, pick_device, pick_dtype
from selfedit.models import HFTokenizer, resolve, tiny
from selfedit.models.fetch import cache_folder
from selfedit.models.libraries import quiet
from selfedit.policy import opening
from selfedit.types import LoraShape

RANDOM: dict[str, dict[str, Any]] = {
    "random-135m": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "vocab_size": 49152, "tie_word_embeddings": True,
    },
    "random-1b": {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 128256, "tie_word_embeddings": True,
    },
    "random-7b": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
        "vocab_size": 32000, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Llama shapes: SmolLM2 135M, Llama 3.2 1B, Llama 2 7B."""


def folder_of(name: str, device: str = "cpu") -> Path:
    """The folder of a model. A random one is made in the cache once, for a CPU with its weights; on any other device `open_model` draws them."""
    if name != "random-tiny" and name not in RANDOM:
        return resolve(name, pull=True)
    drawn = name in RANDOM and device != "cpu"
    folder = cache_folder().parent / "benchmarks" / (f"{name}-shape" if drawn else name)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as scratch:
            made = tiny("llama", Path(scratch) / "model")
            if name in RANDOM:
                _write(RANDOM[name], made, weights=not drawn)
            made.rename(folder)
    return folder


def _write(shape: dict[str, Any], folder: Path, weights: bool) -> None:
    """Random weights in the place of the tiny ones, or none; the byte-level tokenizer stays, its ids are the first of the vocabulary."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(**shape, max_position_embeddings=8192, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    if weights:
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    else:
        config.save_pretrained(folder)


def open_model(folder: Path, dtype: torch.dtype, device: str) -> Any:
    """The model of a folder. One without weights is drawn where it will run: nothing is written, read or copied over."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with quiet():
        if not list(folder.glob("*.safetensors")):
            torch.manual_seed(0)
            with torch.device(device):
                return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True), dtype=dtype).eval()
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return model.to(device).eval()


def tokenizer_of(folder: Path) -> HFTokenizer:
    """The tokenizer alone."""
    from transformers import AutoTokenizer

    return HFTokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True))


def open_engine(recipe: Recipe) -> Torch:
    """The engine of a recipe, which names the folder of its model."""
    folder = Path(recipe.model)
    if list(folder.glob("*.safetensors")):
        engine = opening.open_engine(recipe)
        assert isinstance(engine, Torch)
        return engine
    settings = recipe.open("engine").settings
    device = pick_device(settings.device)
    model = open_model(folder, pick_dtype(settings.dtype, device), str(device)).requires_grad_(False)
    return Torch(model, tokenizer_of(folder), settings, name=str(folder))


def linear_layers(folder: Path) -> dict[str, tuple[int, int]]:
    """(out, in) of every frozen matrix that a token is multiplied with, the head included, by its name."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    return {name: (m.out_features, m.in_features) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}


def flop_a_token(layers: dict[str, tuple[int, int]], shape: LoraShape) -> float:
    """Of training a LoRA: 4N + 6P, no gradient of a frozen weight being needed."""
    head = "lm_head"
    frozen = sum(out * into for out, into in layers.values())
    adapted = [s for name, s in layers.items() if name != head and (shape.targets == ("all",) or name.rsplit(".", 1)[-1] in shape.targets)]
    return 4 * frozen + 6 * sum(shape.rank * (out + into) for out, into in adapted)
