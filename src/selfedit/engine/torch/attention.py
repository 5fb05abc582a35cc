"""Attention over flat tokens: no padding in the batch, one function for training, prefill and decoding.

Shapes: N flat tokens, H query heads, G key-value heads, r = H / G, D head size, S sequences, T positions.
transformers hands over queries (1, H, N, D) and keys and values (1, G, N, D) after the rotary embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

NAME = "selfedit"
"""Under this name the function is registered with transformers."""


class Attend(Protocol):
    """How the running pass attends; called once a layer."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (H, N, D), k and v (G, N, D) → (N, H, D)."""
        ...


def attention(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any) -> tuple[Tensor, None]:
    """The attention function that transformers calls: it hands the layer on to the pass's own `attend`."""
    attend: Attend = options["attend"]
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    out = attend(module.layer_idx, query[0], key[0], value[0], scale, options.get("sliding_window"), options.get("softcap"))  # type: ignore[arg-type]
    return out.unsqueeze(0), None


@dataclass(frozen=True, slots=True)
class Bucket:
    """Sequences of similar length as a padded view of the flat tokens.

    `index` (S, T) is the flat position of each token, with the sequence's own last one for padding: being last, padding is never
    seen by a causal query. `real` (S, T) marks what is no padding; `full` says that nothing is.
    """

    index: Tensor
    real: Tensor
    full: bool


def buckets(lengths: list[int], device: torch.device, spread: float = 1.25) -> list[Bucket]:
    """Group sequences so that none is padded to more than `spread` times its length (plus a few tokens)."""
    starts, total = [], 0
    for n in lengths:
        starts.append(total)
        total += n
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for i in order:
        if groups and lengths[groups[-1][0]] <= lengths[i] * spread + 4:
            groups[-1].append(i)
        else:
            groups.append([i])
    made = []
    for group in groups:
        longest = lengths[group[0]]
        offset = torch.arange(longest, device=device)
        length = torch.tensor([lengths[i] for i in group], device=device)[:, None]
        start = torch.tensor([starts[i] for i in group], device=device)[:, None]
        real = offset[None] < length
        made.append(Bucket(start + torch.minimum(offset[None], length - 1), real, bool(real.all())))
    return made


class FlatAttend:
    """Causal attention inside each sequence of a flat batch, with a backward pass of its own."""

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.buckets = buckets(lengths, device)
        self.device = device
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def mask(self, length: int, window: int | None) -> Tensor:
        """(T, T) with -inf above the diagonal and outside the window."""
        if (length, window) not in self._masks:
            ones = torch.ones(length, length, dtype=torch.bool, device=self.device)
            seen = ones.tril()
            if window is not None and window < length:
                seen &= ones.triu(1 - window)
            self._masks[length, window] = torch.zeros(length, length, device=self.device).masked_fill_(~seen, float("-inf"))
        return self._masks[length, window]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (H, N, D), k and v (G, N, D) → (N, H, D)."""
        if softcap is not None:
            return self._composite(q, k, v, scale, window, softcap)
        out: Tensor = _FlatAttention.apply(q, k, v, self, scale, window)  # type: ignore[no-untyped-call]
        return out

    def _composite(self, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float) -> Tensor:
        """The same through autograd, with the soft cap on the logits that Gemma 2 has."""
        H, N, D = q.shape
        out = q.new_zeros(N, H, D)
        for b in self.buckets:
            kb, vb = (z[:, b.index].repeat_interleave(H // k.shape[0], 0) for z in (k, v))  # (H, S, T, D)
            logits = torch.matmul(q[:, b.index], kb.transpose(-1, -2)).to(torch.promote_types(q.dtype, torch.float32)) * scale
            logits = torch.tanh(logits / softcap) * softcap + self.mask(b.index.shape[1], window)
            o = torch.matmul(logits.softmax(-1).to(q.dtype), vb)
            out = out.index_put((b.index[b.real],), o.permute(1, 2, 0, 3)[b.real])
        return out


def _fold(z: Tensor, bucket: Bucket, G: int) -> Tensor:
    """(H, N, D) → (S · G, r · T, D): the r query heads of a group stand below each other."""
    H, _, D = z.shape
    S, T = bucket.index.shape
    return z[:, bucket.index.view(-1)].view(G, H // G, S, T, D).permute(2, 0, 1, 3, 4).reshape(S * G, H // G * T, D)


def _unfold(z: Tensor, bucket: Bucket, G: int) -> Tensor:
    """(S · G, r · T, D) → (S, T, H, D)."""
    S, T = bucket.index.shape
    return z.view(S, G, -1, T, z.shape[-1]).permute(0, 3, 1, 2, 4).reshape(S, T, -1, z.shape[-1])


class _FlatAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: FlatAttend, scale: float, window: int | None) -> Tensor:
        H, N, D = q.shape
        G = k.shape[0]
        out = q.new_empty(N, H, D)
        saved = []
        for b in plan.buckets:
            S, T = b.index.shape
            qs, ks, vs = _fold(q, b, G), _fold(k, b, G), _fold(v, b, G)
            logits = torch.bmm(qs, ks.transpose(1, 2)).to(torch.promote_types(q.dtype, torch.float32)).view(S * G, -1, T, T)
            p = logits.mul_(scale).add_(plan.mask(T, window)).softmax(-1).to(q.dtype).view(S * G, -1, T)
            o = _unfold(torch.bmm(p, vs), b, G)
            if b.full:
                out[b.index.view(-1)] = o.reshape(S * T, H, D)
            else:
                out[b.index[b.real]] = o[b.real]
            saved += [qs, ks, vs, p]
        ctx.save_for_backward(out, *saved)
        ctx.plan, ctx.scale, ctx.shapes = plan, scale, (H, G, N, D)
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        out, *saved = ctx.saved_tensors
        H, G, N, D = ctx.shapes
        dq, dk, dv = (dout.new_empty(n, N, D) for n in (H, G, G))
        delta = (dout * out).sum(-1, dtype=torch.promote_types(dout.dtype, torch.float32))  # (N, H)
        for b in ctx.plan.buckets:
            S, T = b.index.shape
            qs, ks, vs, p = saved[:4]
            saved = saved[4:]
            do = dout[b.index]  # (S, T, H, D)
            if not b.full:
                do = do * b.real[..., None, None]
            dos = do.view(S, T, G, -1, D).permute(0, 2, 3, 1, 4).reshape(S * G, -1, D)
            dl = delta[b.index].view(S, T, G, -1).permute(0, 2, 3, 1).reshape(S * G, -1, 1)
            dvs = torch.bmm(p.transpose(1, 2), dos)
            ds = torch.bmm(dos, vs.transpose(1, 2)).sub_(dl).mul_(p).mul_(ctx.scale)
            if not b.full:
                ds.view(S, -1, T, T).mul_(b.real[:, None, :, None])
            for grad, g in ((dq, torch.bmm(ds, ks)), (dk, torch.bmm(ds.transpose(1, 2), qs)), (dv, dvs)):
                z = _unfold(g, b, G).reshape(S * T, -1, D)
                rows = b.index.view(-1) if b.full else b.index[b.real]
                grad[:, rows] = (z if b.full else z[b.real.view(-1)]).transpose(0, 1)
        return dq, dk, dv, None, None, None
