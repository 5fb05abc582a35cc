"""A training pass with shapes that stay the same, so that a GPU can repeat its launches, forward and backward, as a single one (a CUDA graph).

A pass is filled up to one of few sizes with more sequences of its last job, whose tokens weigh nothing. All that it is told stands in one tensor,
which is filled anew for each pass, and it adds to the gradients of its slots. Nothing in it waits, and no shape depends on what it is told.

Shapes: N flat tokens, M learned tokens, S sequences of at most T tokens, A adapters of at most L rows: all as they are filled up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.attention import BUCKET_WASTE, Bucket, Ends, Flash, FlatAttention
from selfedit.engine.torch.cross_entropy import owned_loss
from selfedit.engine.torch.decode_static import power_of_two
from selfedit.engine.torch.grouped import MOST, GroupedBlock
from selfedit.engine.torch.jobs import Part
from selfedit.engine.torch.lora import Block, PaddedBlock
from selfedit.engine.torch.model import Base

MOST_TOKENS = 2048
"""Of a pass that is repeated. In a larger one operations take about as long as launching them, and filling it up would cost more than it saves."""
SIZES = 64
"""Sizes of passes in a call of `train`, at most: a graph of thousands of launches takes some megabytes."""


def rounded(n: int, least: int) -> int:
    """The next of few sizes: the multiples of `least`, and beyond eight of them four sizes to an octave."""
    step = max(least, 1 << max(0, (n - 1).bit_length() - 3))
    return -(-n // step) * step


@dataclass(frozen=True, slots=True)
class Size:
    """Of a pass that is filled up, N, M, S, T, A and L; `rows` is 0 where adapters are not padded."""

    tokens: int
    learned: int
    sequences: int
    longest: int
    adapters: int
    rows: int


@dataclass(frozen=True, slots=True)
class Filled:
    """A pass that is filled up: what it is told, as int64 on the CPU. `parts` are its own, the smallest one last."""

    parts: Sequence[Part]
    size: Size
    told: Mapping[str, Tensor]


def filled(arena: Arena, parts: Sequence[Part]) -> Filled | None:
    """A pass of cross-entropy, filled up; None where it is too large, or would be mostly padding."""
    base = arena.base
    parts = sorted(parts, key=lambda part: -sum(len(part[0].batch.data[i].tokens) for i in part[1]))
    owned = [(r.batch.data[i], r.batch.norm[i]) for r, here in parts for i in here]
    own, rows_A = [len(d.tokens) for d, _ in owned], [sum(len(r.batch.data[i].tokens) for i in here) for r, here in parts]
    n, N, A = sum(own), rounded(sum(own), 128), len(parts)
    T = power_of_two(max(*own, 64)) if base.flash else rounded(max(own), 64)
    S = len(own) + -(-(N - n) // T)
    S = power_of_two(max(S, 4)) if base.flash else rounded(S, 4)
    fill = min(S - len(own), N - n)  # none of no tokens, which a kernel may not take
    S = len(own) + fill
    lengths_S = own + [(N - n + i) // fill for i in range(fill)]
    rows_A[-1] += N - n
    grouped = hardware.has_grouped_mm(base.like)
    L = rounded(max(rows_A), 64) if A > 1 and (base.odd or not grouped) else 0
    padding = 0 if base.flash else S * T * T - sum(length * length for length in lengths_S)
    if N > MOST_TOKENS or padding > 2 * BUCKET_WASTE or A * L > 4 * MOST_TOKENS or (grouped and A > MOST):
        return None
    weights = [w / norm for d, norm in owned for w in (*d.weights[1:], 0.0)]
    learned = [i for i, w in enumerate(weights) if w]
    M = N // 4 * max(1, -(-4 * len(learned) // N))
    more = M - len(learned)
    told = {
        "tokens": torch.tensor([token for d, _ in owned for token in d.tokens] + [0] * (N - n)),
        "positions": torch.tensor([at for length in lengths_S for at in range(length)]),
        "learned": torch.tensor([*learned, *learned[-1:] * more] if learned else [0] * M),
        "weights": torch.tensor([weights[i] for i in learned] + [0.0] * more, dtype=torch.float64).view(torch.int64),
        "adapters": torch.tensor([r.slot.index for r, _ in parts]),
        "owner": torch.tensor([r.slot.index for r, _ in parts]).repeat_interleave(torch.tensor(rows_A)),
        "ends": torch.tensor(list(accumulate(rows_A))),
        "cumulative": torch.tensor([0, *accumulate(lengths_S)]),
    }
    told |= {} if base.flash else _grid("attention", lengths_S, T)
    told |= _grid("block", rows_A, L) if L else {}
    return Filled(parts, Size(N, M, S, T, A, L), told)


def _grid(name: str, lengths: Sequence[int], width: int) -> dict[str, Tensor]:
    """Runs of flat rows as the lines of a grid: the row of each place, the run's last one for padding; the place of each row; what is real."""
    length, at, N = torch.tensor(lengths)[:, None], torch.arange(width), sum(lengths)
    first = length.cumsum(0) - length
    index, real = first + torch.minimum(at, length - 1), at < length
    line = torch.arange(len(lengths))[:, None] * width - first
    take = torch.arange(N) + line.squeeze(1).repeat_interleave(length.squeeze(1))
    return {f"{name} index": index.view(-1), f"{name} take": take, f"{name} real": real.view(-1).long()}


class StaticAttention(FlatAttention):
    """Attention in sequences whose lengths stand on the device."""

    def __init__(self, size: Size, told: Mapping[str, Tensor], device: torch.device, flash: Flash | None) -> None:
        super().__init__([], device, flash)
        self._longest, self.ends = size.longest, Ends(told["cumulative"].to(torch.int32), size.longest)
        if flash is None:
            real, all_rows = told["attention real"][:, None, None].bool(), torch.arange(size.tokens, device=device)
            shape = size.sequences, size.longest
            self.buckets = [Bucket([], shape, told["attention index"], told["attention take"], all_rows, real)]

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Of all sequences one, unless flash attention attends."""
        raise RuntimeError("some layers cap the logits of their attention and others do not")


class StaticPass:
    """A training pass of one size, which any jobs of an arena can run through, again and again."""

    def __init__(self, whole: Filled, like: Tensor) -> None:
        """`like` (K, P) are the gradients of the arena."""
        lengths = [len(z) for z in whole.told.values()]
        self.size, self.sums = whole.size, like.new_zeros(len(like))
        self.all = torch.zeros(sum(lengths), dtype=torch.long, device=like.device)
        self.told = dict(zip(whole.told, self.all.split(lengths), strict=True))  # type: ignore[no-untyped-call]
        self.seen = False
        self.recorded: Callable[[], None] | None = None

    @property
    def worth_recording(self) -> bool:
        """Whether the next run is recorded: what comes once is not."""
        return self.seen and self.recorded is None and hardware.has_graphs(self.all.device)

    def run(self, arena: Arena, whole: Filled) -> Tensor:
        """Adds to the gradients of the slots, and returns the loss of each part (A,)."""
        device = self.all.device
        self.all.copy_(hardware.upload(torch.cat([*whole.told.values()]), device))
        step = partial(self._run, arena)
        if self.worth_recording:
            self.recorded = hardware.recorded(step, device, arena.memory)
        self.seen = True
        (self.recorded or step)()
        losses: Tensor = self.sums.index_select(0, self.told["adapters"])
        return losses

    def _run(self, arena: Arena) -> None:
        base, told, rows = arena.base, self.told, self.told["learned"]
        attend = StaticAttention(self.size, told, base.device, base.flash)
        hidden = base.forward(told["tokens"], told["positions"], attend, arena.bank, [self._block(base)])
        weights, owner = told["weights"].view(torch.float64).to(self.sums.dtype), told["owner"].index_select(0, rows)
        targets = told["tokens"].roll(-1).index_select(0, rows)
        total, sums = owned_loss(hidden.index_select(0, rows), base.head, targets, weights, owner, len(self.sums))
        self.sums.copy_(sums)
        total.backward()  # type: ignore[no-untyped-call]

    def _block(self, base: Base) -> Block:
        """The adapters' part of the pass: every row adds to the gradient of its adapter."""
        told, N, adapters = self.told, self.size.tokens, self.told["adapters"]
        padded = PaddedBlock(0, N, adapters, (1, N), fresh=False)
        if L := self.size.rows:
            real = told["block real"].view(-1, L, 1).to(base.dtype)
            padded = PaddedBlock(0, N, adapters, (len(adapters), L), told["block index"], told["block take"], real, fresh=False)
        if len(adapters) == 1 or not hardware.has_grouped_mm(base.like):
            return padded
        return GroupedBlock(0, N, adapters, told["ends"].to(torch.int32), told["owner"], fresh=False, other=padded if base.odd else None)
