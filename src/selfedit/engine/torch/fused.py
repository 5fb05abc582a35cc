"""Parts of a decoder layer in fewer passes over memory than the model's own, with a backward pass of their own where one is needed.

They take the place of the model's modules, and stay there only if the model computes the same with them. Shapes: N flat tokens, d hidden size,
H query heads, G key-value heads, D head size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfedit.engine.torch import hardware
from selfedit.engine.torch.attention import AttentionPass
from selfedit.engine.torch.cross_entropy import wide


class Norm(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019) with a frozen weight."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight, requires_grad=False), eps

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) → (..., d). PyTorch has it in one launch on a GPU, but not on a CPU."""
        if hardware.on_gpu(x.device) and x.dtype == self.weight.dtype:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        y: Tensor = _Norm.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return y


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x (..., d) → x · s · weight with s = 1 / rms(x)."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        s = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, s)
        y: Tensor = (x * s).mul_(weight).to(x.dtype)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        """dx = s (g - x s² mean(g x)) with g = dy · weight."""
        x, weight, s = ctx.saved_tensors
        g = dy * weight
        along = (g * x).sum(-1, keepdim=True, dtype=s.dtype).mul_(s.square()).div_(x.shape[-1])
        return (g.addcmul_(x, along.to(g.dtype), value=-1) * s).to(x.dtype), None, None


class Rotate(torch.autograd.Function):
    """Rotary embedding (Su et al. 2021), halves apart as in Llama."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x (N, H, D), cos and sin (N, 1, D / 2) → (N, H, D)."""
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        """The rotation the other way round."""
        cos, sin = ctx.saved_tensors
        return _turn(dy, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    (a, b), (into_a, into_b) = x.chunk(2, -1), y.chunk(2, -1)
    torch.mul(a, cos, out=into_a).addcmul_(b, sin, value=-way)
    torch.mul(b, cos, out=into_b).addcmul_(a, sin, value=way)
    return y


class Attention(nn.Module):
    """Projections, norms of heads where the model has them, rotary embedding, and the running pass's own way to attend."""

    def __init__(self, own: Any, scale: float, window: int | None, softcap: float | None) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = own.q_proj, own.k_proj, own.v_proj, own.o_proj
        self.q_norm, self.k_norm = getattr(own, "q_norm", nn.Identity()), getattr(own, "k_norm", nn.Identity())
        self.layer, self.size = own.layer_idx, own.head_dim
        self.options = scale, window, softcap

    def forward(self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], attend: AttentionPass, **_: object) -> tuple[Tensor, None]:
        """hidden_states (1, N, d) → (1, N, d); called by the model's decoder layer."""
        x = hidden_states.flatten(0, 1)  # taking [0] would cost a copy on the way back
        q, k, v = (p(x).view(x.shape[0], -1, self.size) for p in (self.q_proj, self.k_proj, self.v_proj))
        cos, sin = (z[0, :, None, : self.size // 2] for z in position_embeddings)
        q, k = (Rotate.apply(z, cos, sin) for z in (self.q_norm(q), self.k_norm(k)))  # type: ignore[no-untyped-call]
        out = attend(self.layer, q, k, v, *self.options)
        return self.o_proj(out.flatten(1)).unsqueeze(0), None


def attention_like(own: Any, options: Mapping[int, tuple[float, int | None, float | None]]) -> Attention | None:
    """An `Attention` of a module's parts, or None where it has others; `options` (scale, window, soft cap) of each layer were seen in use."""
    parts = ("q_proj", "k_proj", "v_proj", "o_proj", "head_dim", "layer_idx")
    if not all(hasattr(own, part) for part in parts) or own.layer_idx not in options:
        return None
    return Attention(own, *options[own.layer_idx])


def norm_like(own: nn.Module) -> Norm | None:
    """A `Norm` that computes what a module of the model does, or None."""
    weight = getattr(own, "weight", None)
    eps = getattr(own, "variance_epsilon", getattr(own, "eps", None))
    if not (type(own).__name__.endswith("RMSNorm") and isinstance(weight, Tensor) and weight.dim() == 1 and isinstance(eps, float)):
        return None
    x = torch.linspace(-2, 3, 4 * len(weight), device=weight.device).view(4, -1).to(weight.dtype)
    with torch.no_grad():
        for scaled in (weight, 1 + wide(weight)):  # Gemma's weights are offsets from one
            found = Norm(scaled.detach(), eps)
            if torch.allclose(found(x), own(x), rtol=0.02 if x.dtype.itemsize < 4 else 1e-5, atol=1e-3 if x.dtype.itemsize < 4 else 1e-6):
                return found
    return None
