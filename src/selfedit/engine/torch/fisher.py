"""The diagonal of the Fisher information of an adapter: many copies of it side by side, a sequence for each, so that a pass gives a gradient each.

Shapes: P numbers of an adapter, S sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from selfedit.engine.torch.arena import Arena, Slot, layout_of
from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.budget import Budget
from selfedit.engine.torch.jobs import Running
from selfedit.engine.torch.lanes import Lanes
from selfedit.engine.torch.layout import widest
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.workers import balanced_shares, run_shares
from selfedit.errors import EngineError
from selfedit.types import Datum, LoraShape, Optimizer, TrainJob


def fisher(base: Base, weights: Weights, data: Sequence[Datum], slots: int, budget_tokens: int, workers: int) -> Weights:
    """The mean over the data of the squared gradient of a sequence's log-likelihood, in the places of the adapter's weights, in at least fp32.

    It is the empirical Fisher: of the tokens that stand there, not of what the model would draw.
    """
    layout = layout_of(base, weights.sites, widest([weights.rank], base.device))
    most = max(1, slots // workers)
    groups = [data[first : first + most] for first in range(0, len(data), most)]
    shares = balanced_shares([sum(len(d.tokens) for d in some) for some in groups], workers)

    def run(share: list[int], report: Callable[[int], None]) -> list[Tensor]:
        arena = Arena(base, max(len(groups[i]) for i in share), layout=layout)
        row = weights.placed(layout, arena.master)
        found = []
        for i in share:
            found.append(_squares(arena, row, weights, groups[i], budget_tokens))
            report(0)
        return found

    total = torch.stack(run_shares(run, shares, len(data))).sum(0)
    return Weights.of(total / len(data), layout, weights.rank, weights.scale)


def _squares(arena: Arena, row: Tensor, weights: Weights, data: Sequence[Datum], budget_tokens: int) -> Tensor:
    """(P,) the sum over some sequences of the squared gradients of their log-likelihoods."""
    shape, unused = LoraShape(weights.rank, weights.scale * weights.rank), torch.Generator().manual_seed(0)
    running = []
    for k, d in enumerate(data):
        slot = Slot(arena, k)
        slot.begin(shape, Optimizer(), unused, row)
        running.append(Running(k, TrainJob((d,)), slot, unused))
        running[-1].begin_step()
    Lanes(arena, 1).accumulate(running, Budget(budget_tokens))
    if failed := next((r.failure for r in running if r.failure), None):
        raise EngineError(failed)
    mass = torch.tensor([r.batch.total for r in running], dtype=row.dtype, device=row.device)  # losses are means over so many tokens
    squares: Tensor = (arena.gradient[: len(running)] * mass[:, None]).square_()
    return squares.sum(0)
