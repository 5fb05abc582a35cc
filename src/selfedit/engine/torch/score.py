"""Log-probabilities of given completions under many adapters, in one forward pass a budget of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from selfedit.engine.base import Progress
from selfedit.engine.torch.attention import FlatAttend
from selfedit.engine.torch.base import Base
from selfedit.engine.torch.lora import Segment, Weights
from selfedit.engine.torch.loss import logprobs
from selfedit.types import Score, ScoreRequest


@torch.no_grad()
def score(
    base: Base, adapters: Mapping[str, Weights], requests: Sequence[ScoreRequest], budget_tokens: int, progress: Progress | None = None
) -> list[Score]:
    """One score a request, in their order; about `budget_tokens` tokens a pass."""
    scores: dict[int, Score] = {}
    order = sorted(range(len(requests)), key=lambda i: (requests[i].adapter.id if requests[i].adapter else "", i))  # type: ignore[union-attr]
    batch: list[int] = []
    size = 0
    for i in order:
        n = len(requests[i].prompt) + len(requests[i].completion)
        if batch and size + n > budget_tokens:
            scores |= _pass(base, adapters, requests, batch)
            batch, size = [], 0
            if progress:
                progress(len(scores), len(requests))
        batch.append(i)
        size += n
    if batch:
        scores |= _pass(base, adapters, requests, batch)
    if progress:
        progress(len(scores), len(requests))
    return [scores[i] for i in range(len(requests))]


def _pass(base: Base, adapters: Mapping[str, Weights], requests: Sequence[ScoreRequest], batch: Sequence[int]) -> dict[int, Score]:
    sequences = [requests[i].prompt + requests[i].completion for i in batch]
    lengths = [len(s) for s in sequences]
    device = base.device
    tokens = torch.tensor([t for s in sequences for t in s], device=device)
    positions = torch.cat([torch.arange(n, device=device) for n in lengths])
    segments: list[Segment] = []
    rows: list[int] = []
    at = 0
    for i, n in zip(batch, lengths, strict=True):
        if adapter := requests[i].adapter:
            segments.append(Segment(at, at + n, adapters[adapter.id]))
        rows += range(at + len(requests[i].prompt) - 1, at + n - 1)
        at += n
    hidden = base.forward(tokens, positions, segments, FlatAttend(lengths, device))
    index = torch.tensor(rows, device=device, dtype=torch.long)
    values = iter(logprobs(hidden[index], base.head, tokens[index + 1], base.softcap).tolist())
    return {i: Score(tuple(next(values) for _ in requests[i].completion)) for i in batch}
