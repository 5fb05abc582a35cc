"""Sampling with many adapters at once: all rows go through one pass a token, finished rows make room for waiting requests.

Every request draws from its own random numbers, made from its seed before it starts, so neighbours and order never matter.
Shapes: n running rows, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from selfedit.engine.base import Progress, Tokenizer
from selfedit.engine.torch.base import Base
from selfedit.engine.torch.cache import Cache, Decode, Prefill
from selfedit.engine.torch.lora import Roster, Weights
from selfedit.engine.torch.loss import capped
from selfedit.types import Completion, SampleRequest

SHORTLIST = 256
"""Most probable tokens looked at first for top-p; rows that need more are sorted whole."""


SHARED = 16
"""Tokens from which on a common beginning is read once."""


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

    @property
    def key(self) -> str:
        """The adapter's name; rows of one adapter stand together."""
        return self.request.adapter.id if self.request.adapter else ""


@torch.no_grad()
def sample(
    base: Base,
    tokenizer: Tokenizer,
    ends: frozenset[int],
    adapters: Mapping[str, Weights],
    requests: Sequence[SampleRequest],
    cache_tokens: int,
    budget_tokens: int,
    progress: Progress | None = None,
) -> list[Completion]:
    """One completion a request, in their order. The cache holds at most about `cache_tokens` tokens (at least one row)."""
    if not requests:
        return []
    done: dict[int, Completion] = {}
    groups: dict[tuple[str, tuple[int, ...]], list[Row]] = {}
    for i, r in enumerate(requests):
        generator = torch.Generator().manual_seed(r.sampling.seed)
        row = Row(i, r, torch.rand(r.sampling.max_tokens, generator=generator, dtype=torch.float64))
        groups.setdefault((row.key, r.prompt), []).append(row)
    waiting = deque(row for key in sorted(groups) for row in groups[key])
    capacity = max(len(r.prompt) + r.sampling.max_tokens for r in requests)
    limit = max(1, min(len(requests), cache_tokens // capacity))
    cache = Cache(limit, capacity)
    roster = Roster(adapters, [r.adapter for r in requests])
    rows: list[Row] = []  # the row at place i owns row i of the cache
    while rows or waiting:
        if waiting and (len(rows) <= limit * 3 // 4):
            rows += _admit(base, roster, cache, waiting, len(rows), limit, budget_tokens)
        else:
            _decode(base, roster, cache, rows)
        rows = _retire(rows, cache, tokenizer, ends, done)
        if progress:
            progress(len(done), len(requests))
    return [done[i] for i in range(len(requests))]


def _admit(base: Base, roster: Roster, cache: Cache, waiting: deque[Row], first: int, limit: int, budget_tokens: int) -> list[Row]:
    """Fill free rows of the cache with waiting requests. A prompt that several share is read once, and so is a beginning that several share."""
    admitted: list[Row] = []
    leaders: list[Row] = []
    twins: list[tuple[int, int]] = []  # (place of the row, index of its leader)
    spent = 0
    while waiting and first + len(admitted) < limit:
        row = waiting[0]
        common = _common(leaders[-1], row) if leaders else 0
        if not leaders or common < len(row.request.prompt) or len(leaders[-1].request.prompt) != common:
            spent += len(row.request.prompt) - common
            if leaders and spent > budget_tokens:
                break
            leaders.append(row)
        twins.append((first + len(admitted), len(leaders) - 1))
        admitted.append(waiting.popleft())
    places = [next(place for place, its in twins if its == i) for i in range(len(leaders))]
    prefixes = [0] * len(leaders)
    groups = _prefix_groups(leaders)
    if groups:
        heads = [members[0] for members, _ in groups]
        shared = [length for _, length in groups]
        _prefill(base, roster, cache, [leaders[i] for i in heads], [places[i] for i in heads], [0] * len(heads), shared)
        for members, length in groups:
            for i in members:
                prefixes[i] = length
                if i != members[0]:
                    cache.copy(places[members[0]], places[i], length)
    last = _prefill(base, roster, cache, leaders, places, prefixes, [len(r.request.prompt) for r in leaders])
    for place, i in twins:
        if place != places[i]:
            cache.copy(places[i], place)
    for row in admitted:
        row.length = len(row.request.prompt)
    _choose(base, admitted, last[torch.tensor([i for _, i in twins], device=base.device)])
    return admitted


def _prefill(base: Base, roster: Roster, cache: Cache, rows: Sequence[Row], places: list[int], begins: list[int], ends: list[int]) -> Tensor:
    """Read tokens [begin, end) of each row's prompt into the cache; the hidden states (n, d) of the last ones."""
    lengths = [end - begin for begin, end in zip(begins, ends, strict=True)]
    spans = list(zip(rows, begins, ends, strict=True))
    tokens = torch.tensor([t for r, begin, end in spans for t in r.request.prompt[begin:end]], device=base.device)
    positions = torch.cat([torch.arange(begin, end, device=base.device) for _, begin, end in spans])
    running = roster.blocks([r.request.adapter for r in rows], lengths, base.head)
    hidden = base.forward(tokens, positions, Prefill(cache, places, lengths, begins, base.device), roster.bank, running)
    return hidden[torch.tensor(lengths, device=base.device).cumsum(0) - 1]


def _common(one: Row, other: Row) -> int:
    """Length of the common beginning of two prompts, 0 under different adapters."""
    if one.key != other.key:
        return 0
    pairs = zip(one.request.prompt, other.request.prompt, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one.request.prompt), len(other.request.prompt)))


def _prefix_groups(leaders: Sequence[Row]) -> list[tuple[list[int], int]]:
    """Neighbours whose prompts begin alike: (their indices, length of the common beginning); at least one token of each prompt is left over."""
    groups: list[tuple[list[int], int]] = []
    for i, row in enumerate(leaders):
        room = len(row.request.prompt) - 1
        if groups:
            members, length = groups[-1]
            common = min(_common(leaders[members[0]], row), length, room)
            if common >= SHARED and 2 * common >= length:
                groups[-1] = ([*members, i], common)
                continue
        groups.append(([i], room))
    return [(members, length) for members, length in groups if len(members) > 1]


def _decode(base: Base, roster: Roster, cache: Cache, rows: list[Row]) -> None:
    """One more token for every row."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].key, i))
    batch = [rows[i] for i in order]
    tokens = torch.tensor([r.tokens[-1] for r in batch], device=base.device)
    places = torch.tensor([r.length for r in batch], device=base.device)
    attend = Decode(cache, torch.tensor(order, device=base.device), places)
    running = roster.blocks([r.request.adapter for r in batch], [1] * len(batch), base.head)
    hidden = base.forward(tokens, places, attend, roster.bank, running)
    for row in batch:
        row.length += 1
    _choose(base, batch, hidden)


def _choose(base: Base, rows: Sequence[Row], hidden: Tensor) -> None:
    """Append the next token of every row, given its hidden state (n, d)."""
    logits = capped(torch.nn.functional.linear(hidden, base.head), base.softcap)
    chosen = torch.empty(len(rows), dtype=torch.long, device=base.device)
    logprobs = logits.log_softmax(-1)
    for i, row in enumerate(rows):
        penalty = row.request.sampling.repetition_penalty
        if penalty != 1.0:
            seen = torch.tensor(sorted({*row.request.prompt, *row.tokens}), device=base.device)
            z = logits[i, seen]
            logits[i, seen] = torch.where(z > 0, z / penalty, z * penalty)
    greedy = [i for i, r in enumerate(rows) if r.request.sampling.temperature == 0]
    drawn = [i for i, r in enumerate(rows) if r.request.sampling.temperature > 0]
    if greedy:
        chosen[greedy] = logits[greedy].argmax(-1)
    if drawn:
        chosen[drawn] = _draw(logits[drawn], [rows[i] for i in drawn])
    values = logprobs.gather(1, chosen[:, None]).squeeze(1).tolist()
    for row, token, value in zip(rows, chosen.tolist(), values, strict=True):
        row.tokens.append(token)
        row.logprobs.append(value)


def _draw(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """Inverse-CDF sampling (n, V) → (n,), with temperature, top-k and top-p (Holtzman et al. 2020, section 3.1) of each row."""
    device = logits.device
    settings = [r.request.sampling for r in rows]
    u = torch.stack([r.uniforms[len(r.tokens)] for r in rows]).to(device)
    p = (logits / torch.tensor([s.temperature for s in settings], device=device, dtype=logits.dtype)[:, None]).softmax(-1)
    top_p = torch.tensor([s.top_p for s in settings], device=device, dtype=torch.float64)
    top_k = torch.tensor([s.top_k or p.shape[1] for s in settings], device=device)
    chosen = torch.empty(len(rows), dtype=torch.long, device=device)
    short = min(SHORTLIST, p.shape[1])
    best, index = p.topk(short, sorted=True)
    whole = (top_p >= 1) & (top_k >= p.shape[1])
    enough = ~whole & ((best.double().sum(-1) >= top_p) | (top_k <= short))
    if whole.any():
        mass = p[whole].double().cumsum(-1)
        chosen[whole] = torch.searchsorted(mass, u[whole, None] * mass[:, -1:], right=True).squeeze(1).clamp_(max=p.shape[1] - 1)
    if enough.any():
        chosen[enough] = _nucleus(best[enough], index[enough], top_p[enough], top_k[enough], u[enough])
    if (rest := ~whole & ~enough).any():
        chosen[rest] = _nucleus(*p[rest].sort(dim=-1, descending=True, stable=True), top_p[rest], top_k[rest], u[rest])
    return chosen


def _nucleus(p: Tensor, index: Tensor, top_p: Tensor, top_k: Tensor, u: Tensor) -> Tensor:
    """Draw from sorted probabilities p (n, S): the smallest set of mass top_p, of at most top_k tokens."""
    p = p.double()
    before = p.cumsum(-1) - p
    p = p.masked_fill((before >= top_p[:, None]) | (torch.arange(p.shape[1], device=p.device)[None] >= top_k[:, None]), 0)
    mass = p.cumsum(-1)
    place = torch.searchsorted(mass, u[:, None] * mass[:, -1:], right=True).clamp_(max=p.shape[1] - 1)
    return index.gather(1, place).squeeze(1)


def _retire(rows: list[Row], cache: Cache, tokenizer: Tokenizer, ends: frozenset[int], done: dict[int, Completion]) -> list[Row]:
    """Take finished rows out; the last row of the cache moves into each gap."""
    kept = list(rows)
    for i in reversed(range(len(kept))):
        row = kept[i]
        _finish(row, tokenizer, ends)
        if row.reason is None:
            continue
        text = tokenizer.decode(row.tokens) if row.text is None else row.text
        done[row.index] = Completion(text, tuple(row.tokens), tuple(row.logprobs), row.reason)
        last = kept.pop()
        if last is not row:
            cache.copy(len(kept), i)
            kept[i] = last
    return kept


def _finish(row: Row, tokenizer: Tokenizer, ends: frozenset[int]) -> None:
    """Set the reason and, for a stop string, the text, once a row has come to its end."""
    s = row.request.sampling
    if row.tokens[-1] in ends:
        row.tokens.pop()
        row.logprobs.pop()
        row.reason = "stop"
        return
    if s.stop:
        tail = tokenizer.decode(row.tokens[-(max(map(len, s.stop)) + 8) :])
        if any(stop in tail for stop in s.stop):
            text = tokenizer.decode(row.tokens)
            row.text, row.reason = text[: min(text.find(stop) for stop in s.stop if stop in text)], "stop"
            return
    if len(row.tokens) >= s.max_tokens:
        row.reason = "length"
