"""Sampling with many adapters at once: all rows go through one pass a token, finished rows make room for waiting requests.

Every request draws from its own random numbers, made from its seed before it starts, so neighbours and order never matter.
Shapes: n running rows, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from selfedit.engine.base import Tokenizer
from selfedit.engine.torch import hardware
from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.budget import fitting
from selfedit.engine.torch.decode_static import StaticDecoder, power_of_two
from selfedit.engine.torch.kv_cache import DecodeAttention, KVCache, rounded
from selfedit.engine.torch.lora import ActiveAdapters, adapter_indices
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.prefill import Text, prefill, shared_prefix
from selfedit.engine.torch.rows import Endings, Row
from selfedit.engine.torch.sampling import next_tokens
from selfedit.engine.torch.workers import contiguous_shares, run_shares
from selfedit.types import Completion, Progress, SampleRequest

FACTOR = 4
"""What writing a token costs, in tokens read."""


def sample(
    base: Base,
    tokenizer: Tokenizer,
    ends: frozenset[int],
    adapters: Mapping[str, Weights],
    requests: Sequence[SampleRequest],
    cache_tokens: int,
    budget_tokens: int,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Completion]:
    """One completion a request, in their order. The cache holds at most about `cache_tokens` tokens (at least one row a worker)."""
    if not requests:
        return []
    index = adapter_indices(r.adapter for r in requests)
    order = sorted(range(len(requests)), key=lambda i: (index[requests[i].adapter], requests[i].prompt))  # what begins alike stands together
    shares = contiguous_shares([len(r.prompt) + FACTOR * r.sampling.max_tokens for r in requests], workers, order)

    @torch.no_grad()
    def run(share: list[int], report: Callable[[int], None]) -> list[Completion]:
        some = [requests[i] for i in share]
        done: dict[int, Completion] = {}
        waiting = deque(Row.of(i, request) for i, request in enumerate(some))
        capacity = rounded(max(len(r.prompt) + r.sampling.max_tokens for r in some))
        most, static = max(1, cache_tokens // len(shares) // capacity), base.graphs.active
        limit = min(len(some), power_of_two(most // 2 + 1) if static else most)
        cache = KVCache(power_of_two(limit) if static else limit)
        active = ActiveAdapters(adapters, [r.adapter for r in some], blank=static)
        endings = Endings(tokenizer, ends)
        decoder = StaticDecoder(base, active, cache, some, endings) if static else None
        rows: list[Row] = []  # the row at index i owns row i of the cache
        while rows or waiting:
            if waiting and (len(rows) <= limit * 3 // 4):
                rows += _admit(base, active, cache, endings, waiting, len(rows), limit, budget_tokens)
            elif decoder is None or not decoder(rows):
                _decode(base, active, cache, endings, rows)
            rows = _retire(rows, cache, endings, done)
            report(len(done))
        return [done[i] for i in range(len(some))]

    return run_shares(run, shares, len(requests), progress)


def _admit(
    base: Base, active: ActiveAdapters, cache: KVCache, endings: Endings, waiting: deque[Row], first: int, limit: int, budget_tokens: int
) -> list[Row]:
    """Fill free rows of the cache with waiting requests, about `budget_tokens` of their prompts in one go."""
    admitted: list[Row] = []
    texts: list[Text] = []
    spent = 0
    while waiting and first + len(admitted) < limit:
        prompt = waiting[0].request.prompt
        text = Text(waiting[0].request.adapter, prompt, len(prompt) - 1)
        spent += len(prompt) - (shared_prefix(texts[-1], text) if texts else 0)
        if texts and spent > budget_tokens:
            break
        texts.append(text)
        admitted.append(waiting.popleft())
    hidden = fitting(lambda: prefill(base, active, cache, texts, first), len(texts))
    if hidden is None:
        waiting.extendleft(reversed(admitted))
        return _admit(base, active, cache, endings, waiting, first, first + len(texts) // 2, budget_tokens)
    for row in admitted:
        row.length = len(row.request.prompt)
    _choose(base, endings, admitted, torch.stack([states[-1] for states in hidden]))
    return admitted


def _decode(base: Base, active: ActiveAdapters, cache: KVCache, endings: Endings, rows: list[Row]) -> None:
    """One more token for every row."""
    order = sorted(range(len(rows)), key=lambda i: (active.index(rows[i].request.adapter), i))
    batch = [rows[i] for i in order]
    positions = [r.length for r in batch]
    tokens, places = hardware.upload(torch.tensor([[r.tokens[-1] for r in batch], positions]), base.device)
    cache.reserve(max(positions) + 1)
    attend = DecodeAttention(cache, order, positions, base.device)
    running = active.blocks([r.request.adapter for r in batch], [1] * len(batch), base)
    hidden = base.forward(tokens, places, attend, active.bank, running)
    for row in batch:
        row.length += 1
    _choose(base, endings, batch, hidden)


def _choose(base: Base, endings: Endings, rows: Sequence[Row], hidden: Tensor) -> None:
    """Append the next token of every row, given its hidden state (n, d)."""
    logits = base.head.logits(hidden)
    uniforms = torch.stack([row.uniforms[len(row.tokens)] for row in rows])
    settings = [row.request.sampling for row in rows]
    histories = [() if s.repetition_penalty == 1.0 else (*row.request.prompt, *row.tokens) for s, row in zip(settings, rows, strict=True)]
    for row, token, value in zip(rows, *next_tokens(logits, settings, uniforms, histories), strict=True):
        endings.append(row, token, value)


def _retire(rows: list[Row], cache: KVCache, endings: Endings, done: dict[int, Completion]) -> list[Row]:
    """Take finished rows out; rows from the end of the cache move into the gaps, all at once."""
    kept = list(enumerate(rows))  # each with its row of the cache
    for i in reversed(range(len(kept))):
        _, row = kept[i]
        if row.reason is None:
            continue
        done[row.index] = endings.completion(row)
        last = kept.pop()
        if last[1] is not row:
            kept[i] = last
    moved = [(source, target, row.length) for target, (source, row) in enumerate(kept) if source != target]
    if moved:
        cache.copy([source for source, _, _ in moved], [target for _, target, _ in moved], max(length for _, _, length in moved))
    return [row for _, row in kept]
