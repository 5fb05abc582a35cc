"""Several adapters in PEFT's format made into one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Matrix = NDArray[numpy.float32]
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
KEPT, RANK = 0.2, 64
"""Of TIES: the share of an update's entries that are kept, those furthest from zero, and the rank of what is made of them."""


def linear(folders: Sequence[Path], out: Path) -> None:
    """The mean of the updates, exactly: ranks are added up."""
    share = 1 / len(folders)
    _join(folders, out, lambda pairs: (numpy.concatenate([a for a, _ in pairs]), numpy.concatenate([b * share for _, b in pairs], axis=1)))


def ties(folders: Sequence[Path], out: Path) -> None:
    """TIES (arXiv 2306.01708): the largest entries of each update; at each place the sign with more weight; the mean of the entries that have it.

    What comes out is no longer of low rank, and is cut to rank `RANK`.
    """
    _join(folders, out, _ties)


def _ties(pairs: Sequence[tuple[Matrix, Matrix]]) -> tuple[Matrix, Matrix]:
    """(down, up) of one layer from those of each adapter."""
    trimmed: list[Matrix] = []
    for down, up in pairs:
        update = up @ down
        least = numpy.quantile(numpy.abs(update), 1 - KEPT)
        trimmed.append(numpy.where(numpy.abs(update) >= least, update, 0.0))
    sign = numpy.sign(sum(trimmed))
    agreeing = [(numpy.sign(update) == sign) & (update != 0) for update in trimmed]
    total = sum(numpy.where(agrees, update, 0.0) for agrees, update in zip(agreeing, trimmed, strict=True))
    left, values, right = numpy.linalg.svd(total / numpy.maximum(sum(agreeing), 1), full_matrices=False)
    root = numpy.sqrt(values[:RANK])
    none = RANK - len(root)  # a small layer has fewer
    return numpy.pad(root[:, None] * right[:RANK], ((0, none), (0, 0))), numpy.pad(left[:, :RANK] * root, ((0, 0), (0, none)))


def _join(folders: Sequence[Path], out: Path, one: Callable[[Sequence[tuple[Matrix, Matrix]]], tuple[Matrix, Matrix]]) -> None:
    """Make `one` (down, up) of those of all adapters, layer by layer; alpha becomes the rank, so that the update is their product."""
    read = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    configs = [json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")) for folder in folders]
    scales = [config["lora_alpha"] / config["r"] for config in configs]
    tensors: dict[str, Matrix] = {}
    for name in [name.removesuffix(DOWN) for name in read[0] if name.endswith(DOWN)]:
        pairs = [(some[name + DOWN].astype("float32"), some[name + UP].astype("float32") * scale) for some, scale in zip(read, scales, strict=True)]
        tensors[name + DOWN], tensors[name + UP] = map(numpy.ascontiguousarray, one(pairs))
    rank = len(next(value for name, value in tensors.items() if name.endswith(DOWN)))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    save_file({name: value.astype("float32") for name, value in tensors.items()}, out / "adapter_model.safetensors", {"format": "pt"})
    (out / "adapter_config.json").write_text(json.dumps(configs[0] | {"r": rank, "lora_alpha": float(rank)}), encoding="utf-8")
