"""Losses for learning from rewards: pure functions of the log-probabilities of the learned tokens, and of what is known about each.

An action is a group of sequences: the turns of one self-edit, or of two for `dpo`. Every loss is a sum over tokens or actions, each with its
share of the step, so that any split of a step into passes adds up to the same loss and gradient; so do the metrics.

Shapes: M learned tokens of some actions of one step, G actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from selfedit.engine.losses import LOSSES, ActionSize, Options, options_of
from selfedit.engine.torch import hardware
from selfedit.engine.torch.cross_entropy import Head, chunks, logprobs
from selfedit.types import Datum, TopTokens, TrainJob


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What a policy loss is given about each learned token beside its log-probability; tensors are (M,). `actions` is G of the whole step.

    `action` is the number of a token's action among the `here`, `weight` its share of the step's loss, `share` its share of the step's tokens (for
    means in metrics). `old` and `reference` are log-probabilities under the policy that wrote it and the reference.
    """

    actions: int
    here: int
    action: Tensor
    old: Tensor
    reference: Tensor
    advantage: Tensor
    weight: Tensor
    share: Tensor


LossFunction = Callable[[Tensor, TokenInfo, Options], tuple[Tensor, dict[str, Tensor]]]
"""logp (M,), tokens, options → loss and metrics, scalars that add up over the passes of a step."""


def kl(logp: Tensor, reference: Tensor) -> Tensor:
    """(M,) → (M,): the estimator k3 of KL(policy ‖ reference), r - 1 - log r with r = reference / policy: never negative (Schulman 2020).

    As a term of the loss its gradient is that of KL(reference ‖ policy) where the samples are the policy's.
    """
    log_ratio = reference - logp
    return log_ratio.exp() - log_ratio - 1


def reinforce(logp: Tensor, t: TokenInfo, o: Options) -> tuple[Tensor, dict[str, Tensor]]:
    """-A log π + β k3: the policy gradient itself (Williams 1992; with a leave-one-out baseline RLOO, arXiv 2402.14740)."""
    divergence = kl(logp, t.reference)
    loss = t.weight * (o["kl"] * divergence - t.advantage * logp)
    return loss.sum(), {"kl": (t.share * divergence).sum()}


def clipped(logp: Tensor, t: TokenInfo, o: Options) -> tuple[Tensor, dict[str, Tensor]]:
    """-min(ρ A, clip(ρ, 1 - ε, 1 + ε) A) + β k3, ρ = π / π_old (PPO, arXiv 1707.06347, eq. 7; GRPO, arXiv 2402.03300, eq. 3).

    `clip_high` may be larger than `clip` (DAPO, arXiv 2503.14476).
    """
    ratio = (logp - t.old).exp()
    low, high = 1 - o["clip"], 1 + o["clip_high"]
    surrogate = torch.minimum(ratio * t.advantage, ratio.clamp(low, high) * t.advantage)
    divergence = kl(logp, t.reference)
    cut = ((ratio < low) & (t.advantage < 0)) | ((ratio > high) & (t.advantage > 0))
    metrics = {"kl": divergence, "clip_fraction": cut.to(logp.dtype), "ratio": ratio}
    return (t.weight * (o["kl"] * divergence - surrogate)).sum(), {name: (t.share * value).sum() for name, value in metrics.items()}


def dpo(logp: Tensor, t: TokenInfo, o: Options) -> tuple[Tensor, dict[str, Tensor]]:
    """-log σ(β [log π(w)/ref(w) - log π(l)/ref(l)]) of each pair (DPO, arXiv 2305.18290, eq. 7); w has a positive advantage, l a negative one."""
    gain = (logp - t.reference) * t.advantage.sign()
    margin = o["beta"] * torch.zeros(t.here, dtype=logp.dtype, device=logp.device).index_add(0, t.action, gain)
    metrics = {"margin": margin, "accuracy": (margin > 0).to(logp.dtype)}
    divergence = (t.share * kl(logp, t.reference)).sum()
    return -F.logsigmoid(margin).sum() / t.actions, {"kl": divergence} | {name: value.sum() / t.actions for name, value in metrics.items()}


FUNCTIONS: Mapping[str, LossFunction] = {"reinforce": reinforce, "ppo": clipped, "grpo": clipped, "dpo": dpo}
"""By the name in a job; `cross_entropy` and `distill` have paths of their own (cross_entropy.py, distillation.py)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The sequences of one optimizer step of a job, each with the number of its `action` in the step and the `norm` its weights are divided by."""

    data: list[Datum]
    action: list[int]
    norm: list[float]
    total: float
    actions: int

    @classmethod
    def of(cls, job: TrainJob, actions: Sequence[Sequence[Datum]]) -> Batch:
        """`actions` are whole."""
        masses = [sum(sum(d.weights[1:]) for d in action) for action in actions]
        total = sum(masses) or 1.0
        divisor, options, turns = LOSSES[job.loss].divisor, options_of(job), max(job.groups, default=1)
        norms = [divisor(ActionSize(mass, total, len(actions), turns), options) for mass in masses]
        owned = [(d, number) for number, action in enumerate(actions) for d in action]
        return cls([d for d, _ in owned], [number for _, number in owned], [norms[number] for _, number in owned], total, len(actions))

    def token_info(self, here: Sequence[int], like: Tensor) -> TokenInfo:
        """What is known of the learned tokens of the sequences `here` (indices into `data`)."""
        rows: list[tuple[float, ...]] = []
        numbered = {action: number for number, action in enumerate(dict.fromkeys(self.action[i] for i in here))}
        for i in here:
            d, norm, number = self.data[i], self.norm[i], numbered[self.action[i]]
            old = d.old_logprobs or d.reference_logprobs
            rows += [(number, old[t], d.reference_logprobs[t], d.advantage, w / norm, w / self.total) for t, w in enumerate(d.weights) if t and w]
        action, *known = hardware.upload(torch.tensor(rows, dtype=torch.float64), like.device).unbind(1)
        return TokenInfo(self.actions, 1 + int(max(number for number, *_ in rows)), action.long(), *(column.to(like.dtype) for column in known))

    def teachers(self, here: Sequence[int]) -> list[TopTokens | tuple[()]]:
        """What the teacher expects in place of each learned token of the sequences `here`; () where it says nothing."""
        return [d.teacher[t] if d.teacher else () for d in (self.data[i] for i in here) for t, w in enumerate(d.weights) if t and w]


def policy_loss(job: TrainJob, logp: Tensor, batch: Batch, here: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a job over some sequences of its step, and its metrics; logp (M,) of their learned tokens in order."""
    return FUNCTIONS[job.loss](logp, batch.token_info(here, logp), options_of(job))


class LinearLogprobs(torch.autograd.Function):
    """log softmax(hiddenₘ headᵀ)[targetₘ] through a frozen head, a few rows at a time; logits are made again in the backward pass, never kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
        """hidden (M, d), targets (M,) → (M,) in nats."""
        ctx.save_for_backward(hidden, targets)
        ctx.head = head
        return logprobs(hidden, head, targets)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """grad (M,) → the gradient of hidden (M, d)."""
        hidden, targets = ctx.saved_tensors
        gradient = torch.empty_like(hidden)
        for rows in chunks(hidden):
            t = targets[rows, None]
            logits = ctx.head.logits(hidden[rows])
            p = logits.softmax(-1).neg_().scatter_add_(1, t, torch.ones_like(t, dtype=logits.dtype)).mul_(grad[rows, None])
            ctx.head.backward(p, logits, gradient[rows])
        return gradient, None, None
