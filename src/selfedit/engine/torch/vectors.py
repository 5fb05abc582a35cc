"""Edit vectors: from a few numbers to a LoRA, by the largest singular directions of the weights (TinyLoRA, arXiv 2602.04118) or those of an adapter.

Shapes: i and o input and output size of a linear layer, r rank of the basis, L layers, u numbers of a layer (width).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.kv_cache import KVCache
from selfedit.engine.torch.lora import ActiveAdapters
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.prefill import Text, prefill
from selfedit.engine.torch.workers import contiguous_shares, run_shares
from selfedit.errors import EngineError
from selfedit.types import Progress, Tokens, VectorEdit


@dataclass(frozen=True, slots=True)
class SiteBasis:
    """What a linear layer of layer number `place` of the edit can become: `down` (r, i), `up` (o, r), `mixes` (u, r, r).

    The change is up · (Σ_j a_j mixes_j) · down; `down` is in the type of the model, for all adapters together.
    """

    place: int
    down: Tensor
    up: Tensor
    mixes: Tensor


class Bases:
    """The bases of one model, each computed once. They do not change when adapters are merged."""

    def __init__(self, base: Base) -> None:
        self.base = base
        self._found: dict[tuple[int, tuple[int, ...], int, int], dict[int, SiteBasis]] = {}
        self._cut: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def weights(self, edit: VectorEdit, given: Weights | None = None) -> Weights:
        """The adapter of an edit, made of the adapter `given` where the edit has a basis.

        Raises EngineError for a layer that is not there, or numbers that do not fit.
        """
        self.check(edit.layers)
        if len(edit.values) != len(edit.layers) * edit.width or not all(map(math.isfinite, edit.values)):
            raise EngineError(f"an edit of {len(edit.layers)} layers has {edit.width} finite numbers for each, not {edit.values}")
        values = torch.tensor(edit.values, dtype=torch.float64).view(len(edit.layers), edit.width)
        if edit.basis:
            return self._weighed(edit, values, given)
        down: list[Tensor | None] = [None] * len(self.base.sites)
        up: list[Tensor | None] = [None] * len(self.base.sites)
        for site, one in self.basis(edit).items():
            mixed = torch.einsum("u,urs->rs", values[one.place], one.mixes)
            down[site] = one.down
            up[site] = (one.up @ mixed).t().to(self.base.device, self.base.dtype).contiguous()
        return Weights(down, up, 1.0)

    def _weighed(self, edit: VectorEdit, values: Tensor, given: Weights | None) -> Weights:
        """Each row of the given adapter's B times its layer's number (L, u)."""
        if given is None or given.rank != edit.width:
            raise EngineError(f"an edit of a basis needs the adapter that is its basis, of rank {edit.width}")
        if missing := set(edit.layers) - {self.base.site_layers[site] for site in given.sites}:
            raise EngineError(f"the basis of the edit has no directions in layer {min(missing)}")
        down: list[Tensor | None] = [None] * len(self.base.sites)
        up: list[Tensor | None] = [None] * len(self.base.sites)
        for site, layer in enumerate(self.base.site_layers):
            own = given.up[site]
            if own is not None and layer in edit.layers:
                factors = values[edit.layers.index(layer)].to(own.device)[:, None]
                down[site], up[site] = given.down[site], (own.double() * factors).to(own.dtype)
        return Weights(down, up, given.scale)

    def check(self, layers: Sequence[int]) -> None:
        """Raises EngineError for a layer that is not there."""
        if missing := [layer for layer in layers if layer not in range(self.base.count)]:
            raise EngineError(f"the model has no layer {missing[0]} that an edit vector could change; its layers are 0 to {self.base.count - 1}")

    def basis(self, edit: VectorEdit) -> dict[int, SiteBasis]:
        """What the sites of an edit's layers can become, by their numbers. Raises EngineError for a layer that is not there."""
        key = (edit.seed, edit.layers, edit.rank, edit.width)
        if key not in self._found:
            self.check(edit.layers)
            self._found[key] = {
                site: SiteBasis(edit.layers.index(layer), *self._directions(site, edit.rank), _mixes(edit, site))
                for site, layer in enumerate(self.base.site_layers)
                if layer in edit.layers
            }
        return self._found[key]

    def _directions(self, site: int, rank: int) -> tuple[Tensor, Tensor]:
        """√Σ Vᵀ (r, i) and U √Σ (o, r) of the largest singular values of a weight."""
        if (site, rank) not in self._cut:
            down, up = largest_directions(self.base.original(site), rank)
            self._cut[site, rank] = down.to(self.base.device, self.base.dtype), up
        return self._cut[site, rank]


def _mixes(edit: VectorEdit, site: int) -> Tensor:
    """P_j, (u, r, r) with variance 1 / r: drawn for each linear layer from a seed of its own, so that other layers in the edit change nothing."""
    generator = torch.Generator().manual_seed((edit.seed * 1_000_003 + site) % 2**63)
    drawn: Tensor = torch.randn(edit.width, edit.rank, edit.rank, generator=generator, dtype=torch.float64)
    return drawn / math.sqrt(edit.rank)


def largest_directions(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """weight (o, i) → √Σ Vᵀ (r, i), U √Σ (o, r) in fp64: its best approximation of this rank is their product (Eckart and Young 1936).

    By the eigenvectors of the smaller of W Wᵀ and Wᵀ W; the largest entry of each is positive, so that their signs are always the same.
    """
    matrix = weight.detach().to("cpu", torch.float64)
    wide = matrix.shape[0] <= matrix.shape[1]
    if not wide:
        matrix = matrix.t()
    squares, vectors = torch.linalg.eigh(matrix @ matrix.t())
    roots = squares[-rank:].flip(0).clamp_min(0).pow(0.25)  # √σ
    left = vectors[:, -rank:].flip(1)
    left = left * left.gather(0, left.abs().argmax(0, keepdim=True)).sign()
    right = (left / roots.clamp_min(1e-12)).t() @ matrix  # √Σ of the other side: σ V / √σ
    return (right, left * roots) if wide else ((left * roots).t().contiguous(), right.t().contiguous())


# ---------------------------------------------------------------- reading


def read(base: Base, texts: Sequence[Tokens], workers: int = 1, progress: Progress | None = None) -> list[tuple[float, ...]]:
    """The mean over its tokens of the last hidden states (d,) of each text, in their order; of a model that runs the slow way, of its logits."""

    def run(share: list[int], report: Callable[[int], None]) -> list[tuple[float, ...]]:
        found = []
        for done, i in enumerate(share, start=1):
            found.append(_mean_state(base, texts[i]))
            report(done)
        return found

    shares = contiguous_shares([len(text) for text in texts], workers, range(len(texts)))
    return run_shares(run, shares, len(texts), progress) if texts else []


@torch.no_grad()
def _mean_state(base: Base, text: Tokens) -> tuple[float, ...]:
    [hidden] = prefill(base, ActiveAdapters({}, [None]), KVCache(1), [Text(None, text, 0)])
    return tuple(hidden.double().mean(0).tolist())
