"""Distillation through a frozen head: learning a teacher's whole distribution of the next token, of which the likeliest tokens are known.

The tokens that are not listed are one more outcome, *the rest*, for the teacher and for the model. So what is compared are two distributions of as
many outcomes as tokens are listed, and one. Logits are never kept.

Shapes: M positions, K the most tokens that are listed at one of them, V vocabulary, d hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfedit.engine.losses import Options
from selfedit.engine.torch import hardware
from selfedit.engine.torch.cross_entropy import Head, LinearCrossEntropy, head_loss
from selfedit.types import TopTokens


@dataclass(frozen=True, slots=True)
class Teacher:
    """What is learned at each position.

    `ids` (M, K) are the listed tokens; where there are fewer, the first of them again. `logp` (M, K + 1) are their log-probabilities in nats, -inf
    where there are fewer, and that of the rest. `reverse` and `temperature` (M, 1) are the options of the loss.
    """

    ids: Tensor
    logp: Tensor
    reverse: Tensor
    temperature: Tensor

    @classmethod
    def of(cls, known: Sequence[tuple[TopTokens, Options]], like: Tensor) -> Teacher:
        """The teacher's tokens at each position with the options of their job; type and device are those of `like`.

        A sum of rounded probabilities leaves a rest that is off by the rounding of 1, and may be negative, so the rest is at least that large:
        1.2e-7 in fp32. A temperature of τ makes (1.2e-7)^(1/τ) of it, 3e-4 at 2.
        """
        width = max(len(ids) for (ids, _), _ in known)
        ids = torch.tensor([ids + ids[:1] * (width - len(ids)) for (ids, _), _ in known])
        listed = torch.tensor([logp + (-math.inf,) * (width - len(logp)) for (_, logp), _ in known], dtype=torch.float64)
        rest = (1 - listed.exp().sum(-1, keepdim=True)).clamp_min(torch.finfo(like.dtype).eps).log()
        options = torch.tensor([(o["reverse"], o["temperature"]) for _, o in known], dtype=torch.float64)
        logp, reverse, temperature = (
            hardware.upload(z.to(like.dtype), like.device) for z in (torch.cat([listed, rest], 1), options[:, :1], options[:, 1:])
        )
        return cls(hardware.upload(ids, like.device), logp, reverse, temperature)

    def at(self, rows: slice) -> Teacher:
        """Some of the positions."""
        return Teacher(self.ids[rows], self.logp[rows], self.reverse[rows], self.temperature[rows])


def divergence(logits: Tensor, teacher: Teacher) -> tuple[Tensor, Tensor]:
    """logits (n, V) → τ² [(1 - r) KL(p ‖ q) + r KL(q ‖ p)] of each position (n,), and its gradient (n, V).

    p are the teacher's and q the model's probabilities of the listed tokens and the rest, each to the power of 1 / τ and normalised again; r is
    `reverse`, τ `temperature`. τ² keeps the size of the gradient whatever τ is (Hinton et al. 2015, arXiv 1503.02531, section 2).
    """
    tau, r = teacher.temperature, teacher.reverse
    others = logits.scatter(1, teacher.ids, -math.inf)
    rest = others.logsumexp(-1, keepdim=True)  # not log(1 - Σ), which loses a small rest; -inf where the whole vocabulary is listed
    listed = logits.gather(1, teacher.ids).masked_fill(teacher.logp[:, :-1].isneginf(), -math.inf)
    mine = torch.cat([listed, rest], 1)
    none = mine.isneginf()
    log_q = (mine / tau).log_softmax(-1)
    log_p = (teacher.logp.masked_fill(none, -math.inf) / tau).log_softmax(-1)
    p, q, gap = log_p.exp(), log_q.exp(), (log_q - log_p).masked_fill(none, 0.0)
    forward, reverse = -(p * gap).sum(-1, keepdim=True), (q * gap).sum(-1, keepdim=True)
    each = tau.square() * ((1 - r) * forward + r * reverse)
    outcomes = tau * ((1 - r) * (q - p) + r * q * (gap - reverse))  # the gradient of `mine`; it sums to 0
    # oneDNN's bf16 products on CPUs with AMX let NaN into the row before, where V is no multiple of 32 (oneDNN issue 5717). The loss stays NaN.
    outcomes = outcomes.nan_to_num(0.0, 0.0, 0.0)
    share = others.sub_(rest.clamp_min(torch.finfo(rest.dtype).min)).exp_()  # of each other token in the rest; 0 where there is no rest
    return each.squeeze(1), share.mul_(outcomes[:, -1:]).scatter_add_(1, teacher.ids, outcomes[:, :-1])


class LinearDistillation(LinearCrossEntropy):
    """Σ weightₘ · divergenceₘ of the logits hiddenₘ headᵀ; returns the sum and each position's divergence."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Head, teacher: Teacher, weights: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """hidden (M, d), weights (M,) → scalar, (M,)."""
        return head_loss(ctx, hidden, head, weights, lambda logits, rows: divergence(logits, teacher.at(rows)))
