"""How far does an adapter move the weights? One that is not a number, does not fit, or is large beside what it is added to has done more than learn.

The update of a layer is B A alpha / rank (LoRA, arXiv 2106.09685). Its norm is computed from the factors: |B A|² is the sum over the entries of
(Bᵀ B) ∘ (A Aᵀ), two matrices of rank by rank.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import Field

from selfedit.guards.base import AdapterSeen, Guard, ShrinkSettings, accept, guard, reject
from selfedit.types import Verdict

_BEFORE, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


class SizeSettings(ShrinkSettings):
    """Settings of `size`."""

    max_norm: float = Field(0.2, gt=0)
    """Largest Frobenius norm of the whole update, as a share of the norm of the weights that it is added to."""


@dataclass(frozen=True, slots=True)
class Update:
    """What an adapter adds to a layer: the Frobenius norm of it; NaN or infinite where a number of A or B is."""

    layer: str
    norm: float


@guard("size", means="an adapter that moves the weights too far, or has numbers that are none, is rejected", settings=SizeSettings)
class Size(Guard):
    """Reads the adapter as it is exported."""

    def verdict(self, seen: AdapterSeen) -> Verdict | None:
        """None for an adapter that has no weights of a model: the fake engine's."""
        with TemporaryDirectory(prefix="selfedit-size-") as scratch:
            seen.policy.engine.export(seen.adapter, Path(scratch))
            config = json.loads((Path(scratch) / "adapter_config.json").read_text(encoding="utf-8"))
            if config.get("peft_type") != "LORA":
                return None
            updates = updates_of(Path(scratch), config)
        return size(updates, seen.policy.engine.norms(), self.settings.max_norm)


def updates_of(folder: Path, config: Mapping[str, Any]) -> list[Update]:
    """The update of each layer of an exported adapter. Raises ValueError where A and B are not of the rank that it says."""
    import numpy
    from safetensors.numpy import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    rank, alpha = config["r"], config["lora_alpha"]
    names = [name.removesuffix(_DOWN) for name in tensors if name.endswith(_DOWN)]
    if not names or {name + end for name in names for end in (_DOWN, _UP)} != set(tensors):
        raise ValueError("not every layer has an A and a B")
    found = []
    for name in names:
        down, up = (tensors[name + end].astype("float64") for end in (_DOWN, _UP))
        if down.ndim != 2 or up.ndim != 2 or not down.shape[0] == up.shape[1] == rank:
            raise ValueError(f"A and B of {name.removeprefix(_BEFORE)} are {down.shape} and {up.shape}, and the rank is {rank}")
        with numpy.errstate(over="ignore", invalid="ignore"):  # what is too large for a number is said in the verdict
            square = float(((up.T @ up) * (down @ down.T)).sum())
        norm = alpha / rank * math.sqrt(max(square, 0.0)) if math.isfinite(square) else math.nan
        found.append(Update(name.removeprefix(_BEFORE), norm))
    return found


def size(updates: list[Update], weights: Mapping[str, float], limit: float) -> Verdict:
    """Rejects an update that is no finite number, or larger than `limit` times the weights' norm; where that is not known, only the former."""
    if broken := [one.layer for one in updates if not math.isfinite(one.norm)]:
        return reject(f"the update of {len(broken)} of {len(updates)} layers is no finite number, that of {broken[0]} the first")
    whole = math.hypot(*(one.norm for one in updates))
    if not all(one.layer in weights for one in updates):
        return accept(f"the update's norm is {whole:.3g}; that of the weights is not known")
    share = whole / math.hypot(*(weights[one.layer] for one in updates))
    far = max(updates, key=lambda one: one.norm / weights[one.layer])
    reason = (
        f"the update's norm is {share:.1%} of the weights', {far.norm / weights[far.layer]:.1%} in {far.layer}; "
        f"{limit:.1%} are allowed (recipe: guard.size.max_norm)"
    )
    return accept(reason) if share <= limit else reject(reason)
