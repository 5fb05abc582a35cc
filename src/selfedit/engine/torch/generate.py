"""Sampling with many adapters at once: all rows go through one pass a token, finished rows make room for waiting requests.

Every request draws from its own random numbers, made from its seed before it starts, so neighbours and order never matter.
Shapes: n running rows, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from selfedit.engine.base import Tokenizer
from selfedit.engine.torch import hardware
from selfedit.engine.torch.budget import fitting
from selfedit.engine.torch.kv_cache import DecodeAttention, KVCache, rounded
from selfedit.engine.torch.lora import ActiveAdapters, Weights, adapter_indices
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.prefill import Text, prefill, shared_prefix
from selfedit.engine.torch.sampling import UNIFORMS, next_tokens
from selfedit.engine.torch.workers import contiguous_shares, run_shares
from selfedit.types import Completion, Progress, SampleRequest

FACTOR = 4
"""What writing a token costs, in tokens read."""


@dataclass(slots=True)
class Row:
    """A request on its way; `length` tokens of it are in the cache."""

    index: int
    request: SampleRequest
    uniforms: Tensor
    length: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str | None = None
    reason: Literal["stop", "length"] | None = None


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

    def run(share: list[int], report: Callable[[int], None]) -> list[Completion]:
        return _sample(base, tokenizer, ends, adapters, [requests[i] for i in share], cache_tokens // len(shares), budget_tokens, report)

    return run_shares(run, shares, len(requests), progress)


@torch.no_grad()
def _sample(
    base: Base,
    tokenizer: Tokenizer,
    ends: frozenset[int],
    adapters: Mapping[str, Weights],
    requests: Sequence[SampleRequest],
    cache_tokens: int,
    budget_tokens: int,
    progress: Callable[[int], None],
) -> list[Completion]:
    """The completions of a share; its requests stand by adapter, those that begin alike together."""
    done: dict[int, Completion] = {}
    waiting = deque(_row(i, request) for i, request in enumerate(requests))
    capacity = rounded(max(len(r.prompt) + r.sampling.max_tokens for r in requests))
    limit = max(1, min(len(requests), cache_tokens // capacity))
    cache = KVCache(limit)
    active = ActiveAdapters(adapters, [r.adapter for r in requests])
    rows: list[Row] = []  # the row at index i owns row i of the cache
    while rows or waiting:
        if waiting and (len(rows) <= limit * 3 // 4):
            rows += _admit(base, active, cache, waiting, len(rows), limit, budget_tokens)
        else:
            _decode(base, active, cache, rows)
        rows = _retire(rows, cache, tokenizer, ends, done)
        progress(len(done))
    return [done[i] for i in range(len(requests))]


def _row(index: int, request: SampleRequest) -> Row:
    s = request.sampling
    generator = torch.Generator().manual_seed(s.seed)
    return Row(index, request, torch.rand(s.max_tokens, UNIFORMS, generator=generator, dtype=torch.float64))


def _admit(base: Base, active: ActiveAdapters, cache: KVCache, waiting: deque[Row], first: int, limit: int, budget_tokens: int) -> list[Row]:
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
        return _admit(base, active, cache, waiting, first, first + len(texts) // 2, budget_tokens)
    for row in admitted:
        row.length = len(row.request.prompt)
    _choose(base, admitted, torch.stack([states[-1] for states in hidden]))
    return admitted


def _decode(base: Base, active: ActiveAdapters, cache: KVCache, rows: list[Row]) -> None:
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
    _choose(base, batch, hidden)


def _choose(base: Base, rows: Sequence[Row], hidden: Tensor) -> None:
    """Append the next token of every row, given its hidden state (n, d)."""
    logits = base.head.logits(hidden)
    uniforms = torch.stack([row.uniforms[len(row.tokens)] for row in rows])
    settings = [row.request.sampling for row in rows]
    histories = [() if s.repetition_penalty == 1.0 else (*row.request.prompt, *row.tokens) for s, row in zip(settings, rows, strict=True)]
    for row, token, value in zip(rows, *next_tokens(logits, settings, uniforms, histories), strict=True):
        row.tokens.append(token)
        row.logprobs.append(value)


def _retire(rows: list[Row], cache: KVCache, tokenizer: Tokenizer, ends: frozenset[int], done: dict[int, Completion]) -> list[Row]:
    """Take finished rows out; rows from the end of the cache move into the gaps, all at once."""
    kept = list(enumerate(rows))  # each with its row of the cache
    for i in reversed(range(len(kept))):
        _, row = kept[i]
        _finish(row, tokenizer, ends)
        if row.reason is None:
            continue
        text = tokenizer.decode(row.tokens) if row.text is None else row.text
        done[row.index] = Completion(text, tuple(row.tokens), tuple(row.logprobs), row.reason)
        last = kept.pop()
        if last[1] is not row:
            kept[i] = last
    moved = [(source, target, row.length) for target, (source, row) in enumerate(kept) if source != target]
    if moved:
        cache.copy([source for source, _, _ in moved], [target for _, target, _ in moved], max(length for _, _, length in moved))
    return [row for _, row in kept]


def _finish(row: Row, tokenizer: Tokenizer, ends: frozenset[int]) -> None:
    """Set the reason, and the text where it is not that of all tokens, once a row has come to its end."""
    s = row.request.sampling
    if row.tokens[-1] in ends:
        row.text, row.reason = tokenizer.decode(row.tokens[:-1]), "stop"
        return
    if s.stop:
        tail = tokenizer.decode(row.tokens[-(max(map(len, s.stop)) + 8) :])
        if any(stop in tail for stop in s.stop):
            text = tokenizer.decode(row.tokens)
            row.text, row.reason = text[: min(text.find(stop) for stop in s.stop if stop in text)], "stop"
            return
    if len(row.tokens) >= s.max_tokens:
        row.reason = "length"
