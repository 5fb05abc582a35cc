"""Linear layers that carry many adapters at once: a flat batch in which each adapter has its own rows.

Shapes: N flat tokens, i and o the layer's input and output size, K adapters in a bank, R the widest rank, S adapters and L rows of a block.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfedit.engine.torch import hardware
from selfedit.engine.torch.bank import Bank, Weights
from selfedit.engine.torch.grouped import MOST, Gradients, GroupedBlock, grouped, run_of, write
from selfedit.engine.torch.stacked import StackedBlock, most, stack
from selfedit.types import Adapter


@dataclass(frozen=True, slots=True)
class SingleBlock:
    """Rows [start, end) of the flat batch, all of the adapter at index `adapter` of the bank."""

    start: int
    end: int
    adapter: int
    fresh: bool = True

    def forward(self, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
        """y (N, o) += scale (x Aᵀ) Bᵀ on the block's rows of x (N, i); what lies between the two products (n, R) is kept for `backward`."""
        rows = slice(self.start, self.end)
        h = torch.mm(x[rows], down[self.adapter].t()).mul_(scale[self.adapter])
        y[rows].addmm_(h, up[self.adapter])
        return h

    def backward(self, dx: Tensor | None, dy: Tensor, x: Tensor, h: Tensor, down: Tensor, up: Tensor, scale: Tensor, into: Gradients) -> None:
        """Gradients: `into` takes those of A and B, overwritten or added to; dx (N, i) gets its share added."""
        rows, k = slice(self.start, self.end), self.adapter
        dh = torch.mm(dy[rows], up[k].t()).mul_(scale[k])
        for grad, found in ((into[0][k], torch.mm(dh.t(), x[rows])), (into[1][k], torch.mm(h.t(), dy[rows]))):
            if self.fresh:
                grad.copy_(found)
            else:
                grad += found
        if dx is not None:
            dx[rows].addmm_(dh, down[k])


@dataclass(frozen=True, slots=True)
class PaddedBlock:
    """Rows [start, end) of the flat batch seen as (S, L, ·): S adapters with about as many rows each, the shorter ones padded.

    `adapters` are their indices in the bank. Where nothing is padded, `index`, `take` and `real` are None; else `index` (S · L,) is the row of each
    place, counted from `start`, with an adapter's own last row as padding, `take` (end - start,) the places that are real, `real` (S, L, 1) ones
    and zeros.
    """

    start: int
    end: int
    adapters: slice | Tensor
    shape: tuple[int, int]
    index: Tensor | None = None
    take: Tensor | None = None
    real: Tensor | None = None
    fresh: bool = True

    def _pad(self, x: Tensor) -> Tensor:
        """(end - start, ·), the block's own rows → (S, L, ·)."""
        return (x if self.index is None else x.index_select(0, self.index)).view(*self.shape, x.shape[1])

    def _unpad(self, z: Tensor) -> Tensor:
        """(S, L, ·) → (end - start, ·)."""
        flat = z.view(-1, z.shape[-1])
        return flat if self.take is None else flat.index_select(0, self.take)

    def forward(self, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
        """As in `SingleBlock`, one batched product for all adapters; keeps (S, L, R)."""
        rows = slice(self.start, self.end)
        if down.stride(0) == 0:  # one A for all
            h = self._pad(torch.mm(x[rows], down[0].t())) * scale[self.adapters]
        else:
            h = torch.bmm(self._pad(x[rows]), down[self.adapters].transpose(1, 2)).mul_(scale[self.adapters])
        y[rows].add_(self._unpad(torch.bmm(h, up[self.adapters])))
        return h

    def backward(self, dx: Tensor | None, dy: Tensor, x: Tensor, h: Tensor, down: Tensor, up: Tensor, scale: Tensor, into: Gradients) -> None:
        """As in `SingleBlock`."""
        rows = slice(self.start, self.end)
        dys = self._pad(dy[rows]) if self.real is None else self._pad(dy[rows]) * self.real
        dh = torch.bmm(dys, up[self.adapters].transpose(1, 2)).mul_(scale[self.adapters])
        for grad, found in ((into[0], torch.bmm(dh.transpose(1, 2), self._pad(x[rows]))), (into[1], torch.bmm(h.transpose(1, 2), dys))):
            write(grad, self.adapters, found, self.fresh)
        if dx is not None:
            dx[rows].add_(self._unpad(torch.bmm(dh, down[self.adapters])))


Block = SingleBlock | PaddedBlock | GroupedBlock | StackedBlock
SPREAD = 16
"""On a CPU the longest of a stack has at most this many rows more than the shortest: more padding costs more than a product of its own."""


def blocks(
    rows: Sequence[tuple[int, int]], like: Tensor, start: int = 0, fresh: Sequence[bool] = (), odd: bool = False, rank: int = 0
) -> list[Block]:
    """Blocks for neighbouring runs of rows [(adapter's index in the bank, number of rows)], from row `start` on; `like` gives type and device.

    Runs are best sorted by length, on a GPU by adapter. `fresh` says of each run whether its adapter's gradient is to be overwritten (the default) or
    added to; the runs of a block agree in it. `odd`: the model has layers that the grouped product does not take. `rank` is the widest of the bank; 0
    asks for blocks in which no adapter's numbers touch another's, not even as zeros.
    """
    fresh = fresh or [True] * len(rows)
    has_grouped_mm = hardware.has_grouped_mm(like)
    made: list[Block] = []
    together = most(rank, like)
    for low, high in pairwise(_cuts(rows, fresh, like, together)):
        run, end = rows[low:high], start + sum(n for _, n in rows[low:high])
        if high == low + 1:
            made.append(SingleBlock(start, end, run[0][0], fresh[low]))
        elif has_grouped_mm:
            other = _padded_block(run, start, end, like, fresh[low]) if odd else None
            made.append(grouped(run, start, like.device, fresh[low], other))
        elif together > 1:
            made.append(stack(run, start, like.device, fresh[low]))
        else:
            made.append(_padded_block(run, start, end, like, fresh[low]))
        start = end
    return made


def _cuts(rows: Sequence[tuple[int, int]], fresh: Sequence[bool], like: Tensor, together: int) -> list[int]:
    """Where blocks of these runs begin, and where the last one ends; `together` adapters can be stacked."""
    spread = math.inf if hardware.on_gpu(like.device) or together > 1 else SPREAD
    limit = MOST if hardware.has_grouped_mm(like) else together if together > 1 else math.inf
    cuts: list[int] = []
    seen: set[int] = set()
    shortest = longest = 0
    for j, (adapter, n) in enumerate(rows):
        shortest, longest = min(shortest, n), max(longest, n)
        if not cuts or longest - shortest > spread or fresh[j] != fresh[j - 1] or adapter in seen or len(seen) == limit:
            cuts.append(j)
            seen, shortest, longest = set(), n, n
        seen.add(adapter)
    return [*cuts, len(rows)]


def _padded_block(rows: Sequence[tuple[int, int]], start: int, end: int, like: Tensor, fresh: bool) -> PaddedBlock:
    chosen, device = run_of([k for k, _ in rows], like.device), like.device
    longest = max(n for _, n in rows)
    if all(n == longest for _, n in rows):
        return PaddedBlock(start, end, chosen, (len(rows), longest), fresh=fresh)
    offset = torch.arange(longest)[None]
    length = torch.tensor([n for _, n in rows])[:, None]
    first = length.cumsum(0) - length
    real = offset < length
    index = (first + torch.minimum(offset, length - 1)).view(-1)
    take, ones = real.view(-1).nonzero().squeeze(1), real[..., None].to(like.dtype)
    index, take, ones = (hardware.upload(z, device) for z in (index, take, ones))
    return PaddedBlock(start, end, chosen, (len(rows), longest), index, take, ones, fresh)


class BlockMaker(Protocol):
    """A base: it makes the blocks that its forward pass takes."""

    def blocks(self, rows: Sequence[tuple[int, int]], start: int = 0, fresh: Sequence[bool] = (), rank: int = 0) -> list[Block]:
        """As the function `blocks`."""
        ...


def adapter_indices(wanted: Iterable[Adapter | None]) -> dict[Adapter | None, int]:
    """Number the adapters of a call in the order in which they first occur; None is -1.

    Their ids depend on how many adapters the engine made before. They must decide nothing: another order is another batch, which rounds differently.
    """
    return {adapter: index for index, adapter in enumerate(dict.fromkeys(adapter for adapter in wanted if adapter))} | {None: -1}


class ActiveAdapters:
    """The adapters of one call of `sample` or `score`, side by side in a bank of their own."""

    def __init__(self, adapters: Mapping[str, Weights], wanted: Iterable[Adapter | None], blank: bool = False) -> None:
        """`blank` puts an adapter that changes nothing behind the others: its index stands for no adapter where every row needs one."""
        self._indices = adapter_indices(wanted)
        named = [adapters[adapter.id] for adapter in self._indices if adapter]
        self.blank = len(named)
        if blank and named:
            named.append(named[0].zeros())
        self.bank = Bank.of(named) if named else None
        self._named = named

    def first(self, site_layers: Sequence[int]) -> int:
        """The first decoder layer that any of them changes, given that of every site; below 1 where nothing is the same under all of them."""
        return min((layer for w in self._named for down, layer in zip(w.down, site_layers, strict=True) if down is not None), default=0)

    def index(self, adapter: Adapter | None) -> int:
        """An adapter's index in the bank; -1 for none, which sorts first."""
        return self._indices[adapter]

    def blocks(self, owners: Sequence[Adapter | None], lengths: Sequence[int], base: BlockMaker) -> list[Block]:
        """Blocks for sequences sorted by `index`. Neighbours under one adapter are one run of rows; sequences without an adapter need no block."""
        runs: list[tuple[int, int]] = []
        start = 0
        for adapter, n in zip(owners, lengths, strict=True):
            if adapter is None:
                start += n
            elif runs and runs[-1][0] == self.index(adapter):
                runs[-1] = (runs[-1][0], runs[-1][1] + n)
            else:
                runs.append((self.index(adapter), n))
        return base.blocks(runs, start, rank=self.bank.rank if self.bank else 0)


class PassContext(threading.local):
    """The adapters of the forward pass that is running in this thread. Each model has its own context."""

    bank: Bank | None = None
    blocks: Sequence[Block] = ()


class LoraLinear(nn.Module):
    """A frozen linear layer; the adapters of the running pass come from the model it belongs to."""

    def __init__(self, linear: Any, site: int, context: PassContext) -> None:
        super().__init__()
        transposed = hasattr(linear, "nf")  # GPT-2's Conv1D
        self.weight, self.bias = nn.Parameter(linear.weight.t() if transposed else linear.weight, requires_grad=False), linear.bias
        self.out_features, self.in_features = self.weight.shape
        self.site, self.context = site, context

    def forward(self, x: Tensor) -> Tensor:
        """x (..., N, i) → (..., N, o)."""
        bank, running = self.context.bank, self.context.blocks
        if bank is None or not running or bank.down[self.site] is None:
            return F.linear(x, self.weight, self.bias)
        y: Tensor = BatchedLora.apply(x.reshape(-1, self.in_features), self.weight, self.bias, bank, running, self.site)  # type: ignore[no-untyped-call]
        return y.view(*x.shape[:-1], self.out_features)


class BatchedLora(torch.autograd.Function):
    """y = x Wᵀ + b + scale (x Aᵀ) Bᵀ, each row with its adapter's A and B; W is frozen, so its gradient is never formed.

    Hu et al. 2021 (LoRA), section 4.1; one product for all adapters of a block as in Punica (Chen et al. 2023), here with its backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, bank: Bank, running: Sequence[Block], site: int) -> Tensor:
        """x (N, i), weight (o, i) → (N, o)."""
        y = F.linear(x, weight, bias)
        down, up = bank.down[site], bank.up[site]
        assert down is not None and up is not None
        hidden = [block.forward(y, x, down, up, bank.scale) for block in running]
        ctx.save_for_backward(x, weight, *hidden)
        ctx.bank, ctx.running, ctx.site = bank, running, site
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, None, None, None, None, None]:
        """dy (N, o) → dx (N, i); the gradients of A and B go straight into the bank."""
        x, weight, *hidden = ctx.saved_tensors
        bank, site = ctx.bank, ctx.site
        down, up = bank.down[site], bank.up[site]
        dx = torch.mm(dy, weight) if ctx.needs_input_grad[0] else None
        into = bank.down_grad[site], bank.up_grad[site]
        for block, h in zip(ctx.running, hidden, strict=True):
            block.backward(dx, dy, x, h, down, up, bank.scale, into)
        return dx, None, None, None, None, None
