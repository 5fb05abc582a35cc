"""Adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.model import Base
from selfedit.errors import ModelError

PREFIX = "base_model.model."


def export(weights: Weights, base: Base, model_name: str, folder: Path) -> None:
    """Write an adapter; raises ModelError where the disk does not take it."""
    tensors: dict[str, Tensor] = {}
    for site, down, up in zip(base.sites, weights.down, weights.up, strict=True):
        if down is not None and up is not None:
            tensors[f"{PREFIX}{site.name}.lora_A.weight"] = down.float().cpu().contiguous()
            tensors[f"{PREFIX}{site.name}.lora_B.weight"] = up.float().t().cpu().contiguous()
    names = [site.name for site, down in zip(base.sites, weights.down, strict=True) if down is not None]
    targets = sorted({_leaf(name) for name in names})
    without = [*base.others, *(site.name for site, down in zip(base.sites, weights.down, strict=True) if down is None)]
    if {_leaf(name) for name in without} & set(targets):  # layers of the same names get no adapter: PEFT has to be told which do
        targets = names
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": model_name,
        "r": weights.rank,
        "lora_alpha": weights.scale * weights.rank,
        "lora_dropout": 0.0,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write the adapter to {folder}: {error}; free some space and resume") from error


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def load(base: Base, folder: Path) -> Weights:
    """Read an adapter. Raises ModelError for no adapter, a shape that does not fit, weights that are not finite, and what is not plain LoRA."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except FileNotFoundError as error:
        raise ModelError(f"no PEFT adapter with safetensors weights in {folder}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"the adapter in {folder} cannot be read: {error}") from error
    variants = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or any(config.get(key) for key in variants):
        raise ModelError(f"the adapter in {folder} is not a plain LoRA with one rank; export it as one")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, (int, float))):
        raise ModelError(f"the adapter in {folder} names no rank and alpha (r: {rank!r}, lora_alpha: {alpha!r}); export it again")
    down: list[Tensor | None] = [None] * len(base.sites)
    up: list[Tensor | None] = [None] * len(base.sites)
    for i, site in enumerate(base.sites):
        names = [f"{PREFIX}{site.name}.lora_{x}.weight" for x in "AB"]
        if not all(name in tensors for name in names):
            continue
        a, b = (tensors.pop(name) for name in names)
        if a.shape != (rank, site.in_features) or b.shape != (site.out_features, rank):
            raise ModelError(f"the adapter in {folder} does not fit this model at {site.name}: {tuple(a.shape)}, {tuple(b.shape)}")
        down[i], up[i] = a.to(base.device, base.dtype), b.t().to(base.device, base.dtype).contiguous()
    if tensors or not any(d is not None for d in down):
        raise ModelError(f"the adapter in {folder} was made for another model: no layer named {next(iter(tensors), 'at all')!r} here")
    if not all(z.isfinite().all() for z in (*down, *up) if z is not None):
        raise ModelError(f"the adapter in {folder} has weights that are not finite; take another")
    return Weights(down, up, alpha / rank)
