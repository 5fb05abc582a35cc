"""Linear layers that carry many adapters at once: rows of each adapter form a segment of the flat batch.

Shapes: N flat tokens, i and o the layer's input and output size, r the rank of one adapter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(slots=True)
class Weights:
    """One adapter's matrices, a list entry for each site (linear layer), None where the adapter has no part.

    `down` (r, i) is LoRA's A; `up` (r, o) is B transposed, so that both are cut by rows of the rank. Gradients, of the same shapes
    and usually of a wider type, are written by the backward pass: overwritten when `fresh`, added to otherwise.
    """

    down: list[Tensor | None]
    up: list[Tensor | None]
    scale: float
    down_grad: list[Tensor | None] = field(default_factory=list)
    up_grad: list[Tensor | None] = field(default_factory=list)
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows [start, end) of the flat batch belong to one adapter."""

    start: int
    end: int
    weights: Weights


class LoraLinear(nn.Module):
    """A frozen linear layer; the segments of the running pass come from the model it belongs to."""

    def __init__(self, linear: nn.Linear, site: int, current: Current) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.site, self.current = site, current

    def forward(self, x: Tensor) -> Tensor:
        """x (..., N, i) → (..., N, o)."""
        site = self.site
        segments = [s for s in self.current.segments if s.weights.down[site] is not None]
        if not segments:
            return F.linear(x, self.weight, self.bias)
        flat = x.reshape(-1, self.in_features)
        y: Tensor = SegmentLora.apply(flat, self.weight, self.bias, segments, site)  # type: ignore[no-untyped-call]
        return y.view(*x.shape[:-1], self.out_features)


@dataclass(slots=True)
class Current:
    """What the running forward pass is made of; owned by one model, never shared between two."""

    segments: list[Segment] = field(default_factory=list)


class SegmentLora(torch.autograd.Function):
    """y = x Wᵀ + b + scale (x Aᵀ) Bᵀ, each segment with its own A and B; W is frozen, so its gradient is never formed.

    Hu et al. 2021 (LoRA), section 4.1.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, segments: list[Segment], site: int) -> Tensor:
        """x (N, i), weight (o, i) → (N, o)."""
        y = F.linear(x, weight, bias)
        hidden = []
        for s in segments:
            h = torch.mm(x[s.start : s.end], s.weights.down[site].t())  # type: ignore[union-attr]
            y[s.start : s.end].addmm_(h, s.weights.up[site], alpha=s.weights.scale)  # type: ignore[arg-type]
            hidden.append(h)
        ctx.save_for_backward(x, weight, *hidden)
        ctx.segments, ctx.site = segments, site
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        """dy (N, o) → dx (N, i); the gradients of A and B go straight into each adapter's own."""
        x, weight, *hidden = ctx.saved_tensors
        site = ctx.site
        dx = torch.mm(dy, weight) if ctx.needs_input_grad[0] else None
        for s, h in zip(ctx.segments, hidden, strict=True):
            w, rows = s.weights, slice(s.start, s.end)
            dy_s = dy[rows]
            dh = torch.mm(dy_s, w.up[site].t()).mul_(w.scale)
            down_grad, up_grad = torch.mm(dh.t(), x[rows]), torch.mm(h.t(), dy_s)
            if w.fresh:
                w.down_grad[site].copy_(down_grad)
                w.up_grad[site].copy_(up_grad.mul_(w.scale))
            else:
                w.down_grad[site].add_(down_grad)
                w.up_grad[site].add_(up_grad, alpha=w.scale)
            if dx is not None:
                dx[rows].addmm_(dh, w.down[site])
        return dx, None, None, None, None
