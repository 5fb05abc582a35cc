"""Cross-entropy through a frozen head, in chunks: logits are never kept, and the gradient of the hidden states is made in the forward pass.

Shapes: M positions with a label, d hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfedit.engine.torch import hardware

CHUNK, GPU_CHUNK = 256, 2048
"""Rows at a time: enough for the product to run at full speed. A chunk reads the whole head, whatever its rows."""


def chunks(hidden: Tensor) -> list[slice]:
    """The rows of hidden (M, d), some at a time."""
    size = GPU_CHUNK if hardware.on_gpu(hidden.device) else CHUNK
    return [slice(i, i + size) for i in range(0, hidden.shape[0], size)]


def wide(z: Tensor) -> Tensor:
    """At least fp32."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def capped(logits: Tensor, softcap: float | None) -> Tensor:
    """Logits in at least fp32, with Gemma 2's soft cap where the model has one."""
    logits = wide(logits)
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap


@dataclass(frozen=True, slots=True)
class Head:
    """The frozen way from hidden states to logits: `weight` (V, d), `bias` (V,), `softcap` as in Gemma 2. Without a weight they are logits."""

    weight: Tensor | None = None
    bias: Tensor | None = None
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (n, d) → (n, V) in at least fp32."""
        return capped(hidden if self.weight is None else F.linear(hidden, self.weight, self.bias), self.softcap)

    def backward(self, gradient: Tensor, logits: Tensor, into: Tensor) -> None:
        """The gradient of logits (n, V), which is overwritten, → that of the hidden states, `into` (n, d)."""
        if self.softcap is not None:
            gradient.mul_(1 - (logits / self.softcap).square())
        if self.weight is None:
            into.copy_(gradient)
        else:
            torch.mm(gradient.to(into.dtype), self.weight, out=into)

    def wide(self) -> Head:
        """The same in at least fp32."""
        weight, bias = (None if z is None else wide(z) for z in (self.weight, self.bias))
        return Head(weight, bias, self.softcap)


def logprobs(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    """hidden (M, d), targets (M,) → log-probabilities (M,) in nats, without gradient."""
    out = []
    with torch.no_grad():
        for rows in chunks(hidden):
            logits = head.logits(hidden[rows])
            out.append(logits.gather(1, targets[rows, None]).squeeze(1) - logits.logsumexp(-1))
    return torch.cat(out) if out else hidden.new_zeros(0, dtype=torch.promote_types(hidden.dtype, torch.float32))


def likeliest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """scores (n, V) → the `count` largest of each row, at most V, and where they stand (n, count): the largest first, equal ones by their index.

    `topk` alone takes any of the equal ones, of which there are many in bf16. NaN counts as the smallest.
    """
    count = min(count, scores.shape[1])
    values = scores.topk(count).values
    if values.isnan().any():  # for topk NaN is the largest
        return likeliest(scores.masked_fill(scores.isnan(), -math.inf), count)
    rows, places = (scores >= values[:, -1:]).nonzero().unbind(1)  # `count` of each row or, where the last ones are equal, more
    order = scores[rows, places].argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    begins = torch.searchsorted(rows, torch.arange(len(scores), device=rows.device))
    return values, places[order[begins[:, None] + torch.arange(count, device=rows.device)]]


def top_logprobs(hidden: Tensor, head: Head, targets: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """As `logprobs`, (M,), with the `count` likeliest tokens at each position: their ids and log-probabilities (M, count)."""
    out: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        for rows in chunks(hidden):
            logits = head.logits(hidden[rows])
            total = logits.logsumexp(-1, keepdim=True)
            values, ids = likeliest(logits, count)
            out.append(((logits.gather(1, targets[rows, None]) - total).squeeze(1), ids, values - total))
    logp, ids, top = (torch.cat(z) for z in zip(*out, strict=True))
    return logp, ids, top


RowLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""logits (n, V) of some rows, and which rows these are → the loss of each (n,) and its gradient (n, V)."""


def head_loss(ctx: Any, hidden: Tensor, head: Head, weights: Tensor, loss: RowLoss) -> tuple[Tensor, Tensor]:
    """hidden (M, d), weights (M,) → Σ weightₘ · lossₘ and each lossₘ; `ctx` keeps the gradient of the hidden states."""
    gradient, losses = torch.empty_like(hidden), []
    for rows in chunks(hidden):
        logits = head.logits(hidden[rows])
        each, slope = loss(logits, rows)
        losses.append(each)
        head.backward(slope, logits, gradient[rows])
    gradient.mul_(weights[:, None].to(hidden.dtype))
    each = torch.cat(losses) if losses else weights.new_zeros(0)
    ctx.save_for_backward(gradient)
    ctx.mark_non_differentiable(each)
    return (each * weights).sum(), each


def _log(p: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """log p (n, 1) of the targets, also where p is too small to be told from zero. On a GPU, nobody waits to see whether there are such."""
    lost = p < 1e-30
    if not hardware.on_gpu(p.device) and not lost.any():
        return p.log()
    return torch.where(lost, logits.gather(1, targets) - logits.logsumexp(-1, keepdim=True), p.log())


class LinearCrossEntropy(torch.autograd.Function):
    """Σ weightₘ · (-log softmax(hiddenₘ headᵀ)[targetₘ]); returns the sum and each position's loss."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Head, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """hidden (M, d), targets and weights (M,) → scalar, (M,)."""

        def cross_entropy(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            t = targets[rows, None]
            p = logits.softmax(-1)
            loss = -_log(p.gather(1, t), logits, t).squeeze(1)
            return loss, p.scatter_add_(1, t, -torch.ones_like(t, dtype=p.dtype))

        return head_loss(ctx, hidden, head, weights, cross_entropy)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient made on the way forward, scaled."""
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None, None


def lost(states: Tensor) -> Tensor:
    """Which of the states (M, d) have overflowed: an RMSNorm turns them into zeros, and the loss into log V."""
    return ~states.any(-1)


def owned_loss(states: Tensor, head: Head, targets: Tensor, weights: Tensor, owner: Tensor, owners: int) -> tuple[Tensor, Tensor]:
    """The loss Σ weightₘ · lossₘ of states (M, d) with targets and weights (M,); and without gradient, each owner's share of it (owners,).

    `owner` (M,) says whose each state is.
    """
    total, each = LinearCrossEntropy.apply(states, head, targets, weights)  # type: ignore[no-untyped-call]
    each = each.masked_fill(lost(states), math.nan)
    return total, torch.zeros(owners, dtype=weights.dtype, device=states.device).index_add_(0, owner, each * weights)
