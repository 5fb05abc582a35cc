"""Attention over flat tokens: no padding in the batch, one function for training, prefill and decoding.

Shapes: N flat tokens, H query heads, G key-value heads, r = H / G, D head size, S sequences, T positions.
transformers hands over queries (1, H, N, D) and keys and values (1, G, N, D) after the rotary embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from selfedit.engine.torch import hardware
from selfedit.engine.torch.cross_entropy import capped, wide

NAME = "selfedit"
"""Under this name the function is registered with transformers."""


class AttentionPass(Protocol):
    """How the running pass attends; called once a layer."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (N, H, D), k and v (N, G, D) → (N, H, D)."""
        ...

    def texts(self, tokens: Tensor) -> list[tuple[Tensor, int]]:
        """tokens (N,) of the batch → each sequence from its beginning, and how many of its last tokens are in the batch."""
        ...


@dataclass(frozen=True, slots=True)
class Ends:
    """Where each of S sequences that lie one after another ends: `cumulative` (S + 1,) int32, from 0 on; `longest` is the length of the longest."""

    cumulative: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Ends:
        """Of sequences of these lengths."""
        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        return cls(hardware.upload(ends, device), max(lengths, default=0))


class Flash(Protocol):
    """Causal attention inside each sequence, in one launch; see `varlen`."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, queries: Ends, keys: Ends, scale: float, window: int | None) -> Tensor:
        """q (N, H, D), k and v (M, G, D) → (N, H, D). The queries of a sequence are its last tokens."""
        ...


def attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> tuple[Tensor, None]:
    """The attention function that transformers calls: it hands the layer on to the pass's own `attend`."""
    attend: AttentionPass = options["attend"]
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    q, k, v = (z.squeeze(0).transpose(0, 1) for z in (query, key, value))
    out = attend(module.layer_idx, q, k, v, scale, options.get("sliding_window"), options.get("softcap"))  # type: ignore[arg-type]
    return out.unsqueeze(0), None


WASTE = 3000
"""On a CPU a sequence joins a bucket where padding it costs at most so many logits a head, about what the calls of a bucket of its own cost."""
BUCKET_WASTE = 1_000_000
"""On a GPU it joins where all padding of the bucket stays below so many logits a head: however many join, memory for it has a bound."""


PIECE, GPU_PIECE = 150, 1024
"""Queries of a long sequence that are taken together, about. Pieces save logits that would only be masked; each costs some launches more."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """S sequences (`members`, by their number in the batch) of similar length T as a padded view of the flat tokens.

    `rows` (S · T,) is the flat position of each token, with the sequence's own last one for padding: being last, padding is never seen
    by a causal query. Where nothing is padded, `take`, `back` and `real` are None; else `take` are the places that are real, `back` the flat
    positions of these, `real` (S · T, 1, 1) ones and zeros.
    """

    members: list[int]
    shape: tuple[int, int]
    rows: slice | Tensor
    take: Tensor | None = None
    back: Tensor | None = None
    real: Tensor | None = None
    piece: int = PIECE

    def parts(self) -> list[tuple[Bucket, int]]:
        """The queries of one long sequence in pieces, the last one first, and how many keys each sees: later ones would only be masked."""
        S, T = self.shape
        pieces = max(1, round(T / self.piece))
        if S > 1 or pieces == 1 or not isinstance(self.rows, slice):
            return [(self, T)]
        cuts, start = [T * i // pieces for i in range(pieces + 1)], self.rows.start
        return [(Bucket(self.members, (1, end - begin), slice(start + begin, start + end)), end) for begin, end in reversed(list(pairwise(cuts)))]

    def fold(self, z: Tensor, groups: int) -> Tensor:
        """(N, H, D) → (S · G, r · T, D): the r query heads of a group stand below each other."""
        S, T = self.shape
        rows = z[self.rows] if isinstance(self.rows, slice) else z.index_select(0, self.rows)
        return rows.view(S, T, groups, -1, z.shape[2]).permute(0, 2, 3, 1, 4).reshape(S * groups, -1, z.shape[2])

    def unfold(self, z: Tensor, into: Tensor) -> None:
        """(S · G, r · T, D) → the sequences' rows of `into` (N, H, D)."""
        S, T = self.shape
        _, H, D = into.shape
        flat = z.view(S, -1, T, D).transpose(1, 2).reshape(S * T, H, D)
        if self.take is not None and self.back is not None:
            into.index_copy_(0, self.back, flat.index_select(0, self.take))
        elif isinstance(self.rows, slice):
            into[self.rows].copy_(flat)
        else:
            into.index_copy_(0, self.rows, flat)


def buckets(lengths: Sequence[int], device: torch.device) -> list[Bucket]:
    """Group sequences that lie one after another in the flat batch by similar length."""
    starts = [0, *accumulate(lengths)]
    return [bucket(group, starts, lengths, device) for group in grouped_by_length(range(len(lengths)), lengths, device)]


def grouped_by_length(members: Sequence[int], lengths: Sequence[int], device: torch.device) -> list[list[int]]:
    """Sequences, by their numbers, that may be padded to the longest of their group."""
    on_gpu = hardware.on_gpu(device)
    groups: list[list[int]] = []
    wasted = 0
    for i in sorted(members, key=lambda i: (-lengths[i], i)):
        waste = lengths[groups[-1][0]] ** 2 - lengths[i] ** 2 if groups else 0
        wasted += waste
        if groups and (wasted <= BUCKET_WASTE if on_gpu else waste <= WASTE):
            groups[-1].append(i)
        else:
            groups.append([i])
            wasted = 0
    return [sorted(group) for group in groups]


def bucket(members: list[int], starts: Sequence[int], lengths: Sequence[int], device: torch.device) -> Bucket:
    """Of sequences, by their numbers, that begin at these flat rows."""
    spans = [(starts[i], lengths[i]) for i in members]
    longest = max(n for _, n in spans)
    shape = (len(spans), longest)
    even = all(n == longest for _, n in spans)
    piece = GPU_PIECE if hardware.on_gpu(device) else PIECE
    if even and all(start == spans[0][0] + i * longest for i, (start, _) in enumerate(spans)):
        return Bucket(members, shape, slice(spans[0][0], spans[0][0] + len(spans) * longest), piece=piece)
    start, length = torch.tensor(spans).T[:, :, None]
    offset = torch.arange(longest)[None]
    rows = (start + torch.minimum(offset, length - 1)).view(-1)
    if even:
        return Bucket(members, shape, hardware.upload(rows, device))
    real = (offset < length).view(-1)
    take = real.nonzero().squeeze(1)
    rows, take, back, ones = (hardware.upload(z, device) for z in (rows, take, rows[take], real[:, None, None]))
    return Bucket(members, shape, rows, take, back, ones)


class FlatAttention:
    """Causal attention inside each sequence of a flat batch, with a backward pass of its own."""

    def __init__(self, lengths: Sequence[int], device: torch.device, flash: Flash | None = None) -> None:
        """`flash` attends in place of the buckets wherever there is no soft cap."""
        self.device, self.flash = device, flash
        self.lengths = list(lengths)
        self._longest = max(lengths, default=0)
        self._masks: dict[tuple[int | None, torch.dtype], Tensor] = {}

    @cached_property
    def buckets(self) -> list[Bucket]:
        """The sequences by length."""
        return buckets(self.lengths, self.device)

    @cached_property
    def ends(self) -> Ends:
        """Of the sequences."""
        return Ends.of(self.lengths, self.device)

    def mask(self, length: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """(T, T) with -inf above the diagonal and outside the window."""
        if (window, dtype) not in self._masks or self._masks[window, dtype].shape[0] < length:
            size = max(length, self._longest)
            ones = torch.ones(size, size, dtype=torch.bool, device=self.device)
            seen = ones.tril()
            if window is not None and window < size:
                seen &= ones.triu(1 - window)
            self._masks[window, dtype] = torch.zeros(size, size, dtype=dtype, device=self.device).masked_fill_(~seen, float("-inf"))
        return self._masks[window, dtype][:length, :length]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (N, H, D), k and v (N, G, D) → (N, H, D)."""
        if softcap is not None:
            return self._composite(q, k, v, scale, window, softcap)
        if self.flash:
            return self.flash(q, k, v, self.ends, self.ends, scale, window)
        out: Tensor = _FlatAttentionFunction.apply(q, k, v, self, scale, window)  # type: ignore[no-untyped-call]
        return out

    def texts(self, tokens: Tensor) -> list[tuple[Tensor, int]]:
        """As in `AttentionPass`: every sequence is whole."""
        return [(text, len(text)) for text in tokens.split(self.lengths)]  # type: ignore[no-untyped-call]

    def _composite(self, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float) -> Tensor:
        """The same through autograd, with the soft cap on the logits that Gemma 2 has."""
        G = k.shape[1]
        out = torch.zeros_like(q)
        for b in self.buckets:
            ks, vs = b.fold(k, G), b.fold(v, G)
            for part, end in b.parts():
                qs, T = part.fold(q, G), part.shape[1]
                logits = capped(wide(torch.bmm(qs, ks[:, :end].transpose(1, 2))) * scale, softcap)
                p = (logits.view(-1, T, end) + self.mask(end, window, logits.dtype)[end - T :]).softmax(-1).to(q.dtype)
                o = torch.zeros_like(q)
                part.unfold(torch.bmm(p.view(len(qs), -1, end), vs[:, :end]), o)
                out = out + o
        return out


class RecordingAttention(FlatAttention):
    """Notes how each layer attends: scale, window and soft cap."""

    def __init__(self, lengths: Sequence[int], device: torch.device, flash: Flash | None = None) -> None:
        super().__init__(lengths, device, flash)
        self.options: dict[int, tuple[float, int | None, float | None]] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (N, H, D), k and v (N, G, D) → (N, H, D)."""
        self.options[layer] = scale, window, softcap
        return super().__call__(layer, q, k, v, scale, window, softcap)


class _FlatAttentionFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: FlatAttention, scale: float, window: int | None) -> Tensor:
        """As `AttentionPass`."""
        G, out = k.shape[1], q.new_empty(q.shape)
        saved = []
        for b in plan.buckets:
            ks, vs = b.fold(k, G), b.fold(v, G)
            saved += [ks, vs]
            for part, end in b.parts():
                qs, T = part.fold(q, G), part.shape[1]
                mask = plan.mask(end, window, q.dtype)[end - T :]
                logits = mask.repeat(len(qs), qs.shape[1] // T, 1).baddbmm_(qs, ks[:, :end].transpose(1, 2), alpha=scale)
                p = wide(logits).softmax(-1).to(q.dtype)
                part.unfold(torch.bmm(p, vs[:, :end]), out)
                saved += [qs, p]
        ctx.save_for_backward(*saved)
        ctx.plan, ctx.scale, ctx.groups, ctx.keys = plan, scale, G, len(k)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        """Dao et al. 2022 (FlashAttention), appendix B.2, without the tiling."""
        saved = iter(ctx.saved_tensors)
        dq = dout.new_empty(dout.shape)
        dk, dv = dout.new_empty(2, ctx.keys, ctx.groups, dout.shape[2])
        for b in ctx.plan.buckets:
            ks, vs = next(saved), next(saved)
            dks, dvs = torch.empty_like(ks), torch.empty_like(vs)
            for part, end in b.parts():
                qs, p = next(saved), next(saved)
                dos = part.fold(dout, ctx.groups)
                if part.real is not None:
                    S, T = part.shape
                    dos.view(S, ctx.groups, -1, T, dos.shape[2]).mul_(part.real.view(S, 1, 1, T, 1))
                ds = torch._softmax_backward_data(torch.bmm(dos, vs[:, :end].transpose(1, 2)), p, -1, p.dtype).mul_(ctx.scale)
                part.unfold(torch.bmm(ds, ks[:, :end]), dq)
                for total, share in ((dks, torch.bmm(ds.transpose(1, 2), qs)), (dvs, torch.bmm(p.transpose(1, 2), dos))):
                    if end == b.shape[1]:  # the first part, whose queries see all keys
                        total.copy_(share)
                    else:
                        total[:, :end].add_(share)
            b.unfold(dks, dk)
            b.unfold(dvs, dv)
        return dq, dk, dv, None, None, None
