"""Attention over sequences of any lengths in one launch each way: PyTorch's flash attention (Dao 2023, FlashAttention-2), where a device has it.

Nothing is padded, and no probabilities are kept for the backward pass. It takes numbers of 16 bits and no soft cap; all else stays with
`FlatAttention`. Shapes as in `attention`: N queries, M keys, H query heads, G key-value heads, D head size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from selfedit.engine.torch.attention import Ends, Flash, RecordingAttention
from selfedit.engine.torch.hardware import Switch
from selfedit.engine.torch.model import Base

LENGTHS = (40, 7, 129, 1)
"""Tokens of the sequences on which it is compared with the engine's own attention."""
WINDOW = 5
"""Where the model has a window, the comparison takes this one, which those sequences are longer than."""
ROUNDING = 0.05
"""What two ways to attend may differ by in 16 bits, of the norm; a wrong mask or scale makes several times as much."""


def flash(q: Tensor, k: Tensor, v: Tensor, queries: Ends, keys: Ends, scale: float, window: int | None) -> Tensor:
    """As `attention.Flash`, with gradients where the queries are as many as the keys."""
    varlen_attn, options = _varlen_attn()
    seen = (-1 if window is None else window - 1, 0)  # how many tokens a query sees before itself, and after
    out: Tensor = varlen_attn(q, k, v, queries.cumulative, keys.cumulative, queries.longest, keys.longest, scale=scale, window_size=seen, **options)
    return out


@cache
def _varlen_attn() -> tuple[Any, dict[str, bool]]:
    """PyTorch's function, and how it is told that heads share keys and values: not every version asks for it."""
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn, {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


def usable(base: Base, switch: Switch) -> Flash | None:
    """`flash` where the switch is on and the device computes with it what the engine's own attention does, compared once; else None.

    None too where all layers have a soft cap.
    """
    if not switch.active:
        return None
    try:
        found = _differences(base)
    except (RuntimeError, TypeError, ValueError, ImportError) as error:
        switch.fail(error)
        return None
    different = max(found, default=0.0)
    if not different <= ROUNDING:
        switch.fail(f"flash attention is {different:.2g} of the norm away from the engine's own")
        return None
    return flash if found else None


def _differences(base: Base) -> list[float]:
    """Of each kind of layer."""
    attend, N = Compared(LENGTHS, base.device), sum(LENGTHS)
    with torch.no_grad():
        base.forward(torch.zeros(N, dtype=torch.long, device=base.device), torch.arange(N, device=base.device), attend)
    return list(attend.differences.values())


class Compared(RecordingAttention):
    """Compares both ways to attend for each kind of layer, on random numbers: what comes out, its gradients, and the last queries alone."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        super().__init__(lengths, device)
        self.differences: dict[object, float] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (N, H, D), k and v (N, G, D) → (N, H, D), the engine's own way."""
        kind = (q.shape, k.shape, q.dtype, scale, window)
        if softcap is None and kind not in self.differences:
            self.differences[kind] = self._compare(q, k, scale, window and min(window, WINDOW))
        return super().__call__(layer, q, k, v, scale, window, softcap)

    def _compare(self, q: Tensor, k: Tensor, scale: float, window: int | None) -> float:
        draw = torch.Generator().manual_seed(0)
        q, k, v, dout = (torch.randn(z.shape, generator=draw).to(q) for z in (q, k, k, q))
        own = super().__call__
        ours = _with_gradients(lambda q, k, v: own(0, q, k, v, scale, window, None), q, k, v, dout)
        theirs = _with_gradients(lambda q, k, v: flash(q, k, v, self.ends, self.ends, scale, window), q, k, v, dout)
        halves = [-(-n // 2) for n in self.lengths]
        last = torch.cat([torch.arange(int(end) - half, int(end)) for end, half in zip(self.ends.cumulative[1:].tolist(), halves, strict=True)])
        last = last.to(q.device)
        few = flash(q[last], k, v, Ends.of(halves, q.device), self.ends, scale, window)
        return max(_distance(a, b) for a, b in zip([*theirs, few], [*ours, ours[0][last]], strict=True))


def _with_gradients(attend: Callable[[Tensor, Tensor, Tensor], Tensor], q: Tensor, k: Tensor, v: Tensor, dout: Tensor) -> list[Tensor]:
    """What comes out, and the gradients of the three."""
    leaves = [z.clone().requires_grad_() for z in (q, k, v)]
    with torch.enable_grad():
        out = attend(*leaves)
        return [out.detach(), *torch.autograd.grad(out, leaves, dout)]


def _distance(a: Tensor, b: Tensor) -> float:
    """Relative norm of a difference."""
    return float((a.float() - b.float()).norm() / b.float().norm())
