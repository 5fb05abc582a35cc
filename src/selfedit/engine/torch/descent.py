"""A step of steepest descent as an adapter: of the gradient of each weight its largest singular directions, from two passes over the data.

No pass holds the gradient G (o, i) of a weight. The gradient of LoRA's B, where B is zero and A random, is G Aᵀ: it shows the range of G. Let Q be a
basis of it. The gradient of A, where A is zero and B = Q, is Qᵀ G, whose singular value decomposition is that of G (Halko, Martinsson and Tropp
2011). Shapes: i and o input and output size of a linear layer, p directions that are looked at, r of them that are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from selfedit.engine.torch.arena import Arena, Slot, layout_of
from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.budget import Budget
from selfedit.engine.torch.jobs import Running
from selfedit.engine.torch.lanes import Lanes
from selfedit.engine.torch.layout import Layout, widest
from selfedit.engine.torch.model import Base
from selfedit.errors import EngineError
from selfedit.types import Datum, LoraShape, Optimizer, Progress, TrainJob

MORE = 8
"""Directions that are looked at beyond those that are kept: p = r + 8."""
LENGTH = 0.002
"""How long the step is in each linear layer, as a share of its weight, in Frobenius norms."""
TOGETHER = 8
"""Sequences between two reports."""
Rows = dict[int, Tensor]
"""By the number of a linear layer, rows of A or Bᵀ."""


def descent(
    base: Base, data: Sequence[Datum], sites: set[int], rank: int, budget_tokens: int, workers: int, progress: Progress | None = None
) -> Weights:
    """The adapter of a step against the gradient of the data's mean loss a token, cut to `rank`, in these linear layers.

    Its update of W is −LENGTH |W| G / |G|, where G is the cut gradient; the singular values of a direction are shared by its rows of A and B. Raises
    EngineError where the gradient is not finite.
    """
    p = rank + MORE
    pass_over = Passes(base, layout_of(base, sites, widest([p], base.device)), p, data, budget_tokens, workers, progress)
    generator = torch.Generator().manual_seed(0)
    drawn = {site: torch.randn(p, base.sites[site].in_features, generator=generator, dtype=torch.float64) for site in sorted(sites)}
    _, of_up = pass_over.gradients(down=drawn)
    ranges = {site: torch.linalg.qr(of_up[site].t()).Q for site in sites}
    of_down, _ = pass_over.gradients(up={site: Q.t() for site, Q in ranges.items()})
    made = Weights([None] * len(base.sites), [None] * len(base.sites), 1.0)
    for site, Q in ranges.items():
        U, S, V = torch.linalg.svd(of_down[site][: Q.shape[1]], full_matrices=False)
        length = LENGTH * base.linears[site].weight.double().norm().cpu() / S[:rank].norm().clamp_min(1e-30)
        roots = (length * S[:rank]).sqrt()[:, None]
        made.down[site] = (roots * V[:rank]).to(base.device, base.dtype)
        made.up[site] = (-roots * (Q @ U[:, :rank]).t()).to(base.device, base.dtype)
    return made


@dataclass
class Passes:
    """Passes over the data with an adapter of p directions whose numbers are given; `done` counts sequences."""

    base: Base
    layout: Layout
    p: int
    data: Sequence[Datum]
    budget_tokens: int
    workers: int
    progress: Progress | None
    done: int = 0

    def gradients(self, down: Mapping[int, Tensor] = MappingProxyType({}), up: Mapping[int, Tensor] = MappingProxyType({})) -> tuple[Rows, Rows]:
        """The gradients of down (p, i) and of up (p, o), by site, in fp64: of the mean loss a token, where the adapter has these rows."""
        arena = Arena(self.base, 1, layout=self.layout)
        row, slot, unused = torch.zeros_like(arena.master), Slot(arena, 0), torch.Generator()
        for given, places in zip((down, up), self.layout.views(row), strict=True):
            for site, rows in given.items():
                _place(places, site)[: len(rows)].copy_(rows)
        total, mass, lanes = torch.zeros_like(row[0]), 0.0, Lanes(arena, self.workers)
        for n in range(0, len(self.data), TOGETHER):
            some = tuple(self.data[n : n + TOGETHER])
            slot.begin(LoraShape(self.p, float(self.p)), Optimizer(), unused, row[0])
            running = Running(0, TrainJob(some, batch_size=len(some)), slot, unused)
            running.begin_step()
            if any(w for d in some for w in d.weights[1:]):
                lanes.accumulate([running], Budget(self.budget_tokens))
                total += running.batch.total * arena.gradient[0]
                mass += running.batch.total
            self.done += len(some)
            if self.progress:
                self.progress(self.done, 2 * len(self.data))
        if not total.isfinite().all():
            raise EngineError("the gradient of the data is not finite: the model gives no finite loss for one of its sequences")
        of_down, of_up = self.layout.views((total / mass)[None])
        return self._rows(of_down), self._rows(of_up)

    def _rows(self, side: Sequence[Tensor | None]) -> Rows:
        return {site: at[0, : self.p].to("cpu", torch.float64) for site, at in enumerate(side) if at is not None}


def _place(side: Sequence[Tensor | None], site: int) -> Tensor:
    """The rows (R, i) or (R, o) of a site."""
    found = side[site]
    assert found is not None
    return found[0]
