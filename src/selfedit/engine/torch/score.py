"""Log-probabilities of given completions under many adapters, in one forward pass a budget of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch

from selfedit.engine.base import Progress
from selfedit.engine.torch.attention import FlatAttend
from selfedit.engine.torch.base import Base
from selfedit.engine.torch.lora import Roster, Weights
from selfedit.engine.torch.loss import logprobs
from selfedit.types import Score, ScoreRequest


@torch.no_grad()
def score(
    base: Base, adapters: Mapping[str, Weights], requests: Sequence[ScoreRequest], budget_tokens: int, progress: Progress | None = None
) -> list[Score]:
    """One score a request, in their order; about `budget_tokens` tokens a pass."""
    roster = Roster(adapters, [r.adapter for r in requests])
    lengths = [len(r.prompt) + len(r.completion) for r in requests]
    waiting = sorted(range(len(requests)), key=lambda i: (roster.place(requests[i].adapter), i))
    scores: dict[int, Score] = {}
    while waiting:
        taken = max(1, sum(total <= budget_tokens for total in accumulate(lengths[i] for i in waiting)))
        scores |= _pass(base, roster, requests, waiting[:taken])
        waiting = waiting[taken:]
        if progress:
            progress(len(scores), len(requests))
    return [scores[i] for i in range(len(requests))]


def _pass(base: Base, roster: Roster, requests: Sequence[ScoreRequest], batch: Sequence[int]) -> dict[int, Score]:
    sequences = [requests[i].prompt + requests[i].completion for i in batch]
    lengths = [len(s) for s in sequences]
    device = base.device
    tokens = torch.tensor([t for s in sequences for t in s], device=device)
    positions = torch.cat([torch.arange(n, device=device) for n in lengths])
    rows: list[int] = []
    at = 0
    for i, n in zip(batch, lengths, strict=True):
        rows += range(at + len(requests[i].prompt) - 1, at + n - 1)
        at += n
    running = roster.blocks([requests[i].adapter for i in batch], lengths, base.head)
    hidden = base.forward(tokens, positions, FlatAttend(lengths, device), roster.bank, running)
    index = torch.tensor(rows, device=device, dtype=torch.long)
    values = iter(logprobs(hidden[index], base.head, tokens[index + 1], base.softcap).tolist())
    return {i: Score(tuple(next(values) for _ in requests[i].completion)) for i in batch}
