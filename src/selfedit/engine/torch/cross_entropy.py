"""Cross-entropy through a frozen head, in chunks: logits are never kept, and the gradient of the hidden states is made in the forward pass.

Shapes: M positions with a label, d hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 256
"""Rows at a time: enough for the product to run at full speed."""


def wide(z: Tensor) -> Tensor:
    """At least fp32."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def capped(logits: Tensor, softcap: float | None) -> Tensor:
    """Logits in at least fp32, with Gemma 2's soft cap where the model has one."""
    logits = wide(logits)
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap


def project(hidden: Tensor, head: Tensor | None) -> Tensor:
    """hidden (M, d), head (V, d) → logits (M, V); without a head the hidden states are logits."""
    return hidden if head is None else F.linear(hidden, head)


def logprobs(hidden: Tensor, head: Tensor | None, targets: Tensor, softcap: float | None = None) -> Tensor:
    """hidden (M, d), head (V, d), targets (M,) → log-probabilities (M,) in nats, without gradient."""
    out = []
    with torch.no_grad():
        for i in range(0, hidden.shape[0], CHUNK):
            rows = slice(i, i + CHUNK)
            logits = capped(project(hidden[rows], head), softcap)
            out.append(logits.gather(1, targets[rows, None]).squeeze(1) - logits.logsumexp(-1))
    return torch.cat(out) if out else hidden.new_zeros(0, dtype=torch.promote_types(hidden.dtype, torch.float32))


def _log(p: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """log p (n, 1) of the targets, also where p is too small to be told from zero."""
    lost = (p < 1e-30).squeeze(1).nonzero().squeeze(1)
    found = p.log()
    if len(lost):
        found[lost] = logits[lost].log_softmax(-1).gather(1, targets[lost])
    return found


class LinearCrossEntropy(torch.autograd.Function):
    """Σ weightₘ · (-log softmax(hiddenₘ headᵀ)[targetₘ]); returns the sum and each position's loss."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor | None, targets: Tensor, weights: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
        """hidden (M, d), head (V, d) or none, targets and weights (M,) → scalar, (M,)."""
        gradient, losses = torch.empty_like(hidden), []
        for i in range(0, hidden.shape[0], CHUNK):
            rows = slice(i, i + CHUNK)
            t = targets[rows, None]
            logits = capped(project(hidden[rows], head), softcap)
            p = logits.softmax(-1)
            losses.append(-_log(p.gather(1, t), logits, t).squeeze(1))
            p.scatter_add_(1, t, -torch.ones_like(t, dtype=p.dtype))
            if softcap is not None:
                p.mul_(1 - (logits / softcap).square())
            if head is None:
                gradient[rows] = p
            else:
                torch.mm(p.to(hidden.dtype), head, out=gradient[rows])
        gradient.mul_(weights[:, None].to(hidden.dtype))
        loss = torch.cat(losses) if losses else weights.new_zeros(0)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(loss)
        return (loss * weights).sum(), loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The gradient made on the way forward, scaled."""
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None, None, None
