"""Writing tokens with shapes that stay the same, so that a GPU can repeat the launches of one token as a single one (a CUDA graph).

The rows of the cache are a power of two, some of them idle, and its capacity grows in steps of 64. Tokens, places and owners stand in tensors that
each token changes in place, and the next token is drawn on the device. On a GPU a token is read while the next one is written: one that comes
after a row's end is thrown away. Tokens are those of the plain way, to rounding, because each request has its own random numbers.

Shapes: n rows, R rows of the cache, W most tokens of a completion, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.kv_cache import Cells, DecodeAttention, KVCache
from selfedit.engine.torch.lora import ActiveAdapters, PaddedBlock
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.rows import Endings, Row
from selfedit.engine.torch.sampling import TRIES, UNIFORMS, Limits, draw_at_once, from_order, shortlisted
from selfedit.types import SampleRequest


def power_of_two(n: int) -> int:
    """The smallest one that is not below n."""
    return 1 << (n - 1).bit_length()


class StaticAttention(DecodeAttention):
    """One new token of each of the first n rows of the cache, at `places` (n,) on the device."""

    def __init__(self, cache: KVCache, places: Tensor) -> None:
        device = places.device
        self.cache, self.order = cache, None
        self.cells = Cells(cache, torch.arange(len(places), device=device), places, device)
        self.ages = places[:, None] - torch.arange(cache.capacity, device=device)
        self._masks = {}


class Draws:
    """What the tokens of each request on its way are drawn by, on the device: one slot a request, and one for all idle rows."""

    def __init__(self, requests: Sequence[SampleRequest], slots: int, vocabulary: int, device: torch.device) -> None:
        asked = [r.sampling for r in requests]
        self.random, self.narrow = any(s.temperature > 0 for s in asked), any(s.top_p < 1 or s.top_k for s in asked)
        penalized = any(s.repetition_penalty != 1.0 for s in asked)
        self.settings = torch.ones(slots + 1, 4, dtype=torch.float64, device=device)
        self.uniforms = torch.zeros(slots + 1, max(s.max_tokens for s in asked), UNIFORMS, dtype=torch.float64, device=device)
        self.seen = torch.zeros(slots + 1, vocabulary if penalized else 0, dtype=torch.bool, device=device)

    def fill(self, rows: Sequence[tuple[int, Row]]) -> None:
        """Put requests with what they have written so far into slots."""
        device, V = self.seen.device, self.seen.shape[1]
        at = hardware.upload(torch.tensor([slot for slot, _ in rows]), device)
        asked = [row.request.sampling for _, row in rows]
        known = [[s.temperature, s.top_p, s.top_k or torch.inf, s.repetition_penalty] for s in asked]
        self.settings.index_copy_(0, at, hardware.upload(torch.tensor(known, dtype=torch.float64), device))
        drawn = torch.zeros(len(rows), *self.uniforms.shape[1:], dtype=torch.float64)
        for own, (_, row) in zip(drawn, rows, strict=True):
            own[: len(row.uniforms)] = row.uniforms
        self.uniforms.index_copy_(0, at, hardware.upload(drawn, device))
        if V:
            self.seen.index_fill_(0, at, False)
            told = [slot * V + token for slot, row in rows for token in {*row.request.prompt, *row.tokens}]
            self.seen.view(-1).index_fill_(0, hardware.upload(torch.tensor(told), device), True)

    def next_tokens(self, logits: Tensor, slots: Tensor, written: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """logits (n, V), the slot of each row (n,), how many tokens it has `written` (n,) → tokens, log-probabilities at temperature 1, and whether a
        row missed: the nucleus is longer than what is sorted here, and its token means nothing."""
        plain = logits.softmax(-1)
        temperature, mass, best, penalty = self.settings.index_select(0, slots).unbind(1)
        if self.seen.shape[1]:
            each = penalty[:, None].to(logits.dtype)
            logits = torch.where(self.seen[slots], torch.where(logits > 0, logits / each, logits * each), logits)
        tokens, missed = logits.argmax(-1), torch.zeros_like(slots, dtype=torch.bool)
        if self.random:
            greedy = temperature <= 0
            p = (logits / torch.where(greedy, 1, temperature)[:, None].to(logits.dtype)).softmax(-1)
            limits, own = Limits(mass, best, self.narrow), self.uniforms[slots, written]
            drawn, missed = draw_at_once(p, limits, own)
            if self.narrow:
                values, index, enough = shortlisted(p, limits)
                drawn = torch.where(missed & enough, from_order(values, index, limits, own[:, TRIES]), drawn)
                missed = missed & ~enough
            tokens, missed = torch.where(greedy, tokens, drawn), missed & ~greedy
        if self.seen.shape[1]:
            self.seen.view(-1).index_fill_(0, slots * self.seen.shape[1] + tokens, True)
        likely = plain.gather(1, tokens[:, None]).squeeze(1)
        return tokens, likely.clamp_min(torch.finfo(likely.dtype).tiny).log(), missed


class StaticDecoder:
    """Writes the tokens of a call. Rows that come, go or move are put in their places anew; in between, each token makes the next."""

    def __init__(self, base: Base, active: ActiveAdapters, cache: KVCache, requests: Sequence[SampleRequest], endings: Endings) -> None:
        self.base, self.active, self.cache, self.endings = base, active, cache, endings
        self.on_device = hardware.has_graphs(base.device)
        head = base.head.weight
        assert head is not None  # a model without one runs the slow way
        self.draws = Draws(requests, cache.rows, head.shape[0], base.device)
        self.state = torch.zeros(5, cache.rows, dtype=torch.long, device=base.device)
        """Of each row its last token, the place of that in the cache, how many tokens it has written, its slot, its adapter."""
        self.found = torch.zeros(3, cache.rows, dtype=torch.float64, device=base.device)
        """Of each row its new token, the log-probability of that, whether it missed."""
        self.free, self.slots = list(range(cache.rows)), dict[int, int]()
        """Slots without a request, and the slot of each row, by its index."""
        self.placed: list[int] = []
        self.unread: deque[Callable[[], Tensor]] = deque()
        self.missed: set[int] = set()
        self.ways: dict[tuple[int, int], Callable[[], None]] = {}
        """How a token of so many rows at such a capacity is written."""

    def __call__(self, rows: Sequence[Row]) -> bool:
        """One more token for every row or, on a GPU, none or two: it is read late, but for a row at its end all are read.

        False where this token is left to the plain way: the device does not take this one, or a row has missed.
        """
        if self.missed or not self.base.graphs.active:
            self.placed = []
            self.free, self.slots = list(range(self.cache.rows)), {}  # they have seen tokens that were not taken, and will not see the next ones
            self.missed.clear()
            return False
        try:
            if [row.index for row in rows] != self.placed:
                self._place(rows)
            self._write(rows)
        except RuntimeError as error:
            self.base.graphs.fail(error)
            self._read(rows, late=0)
            return True
        self._read(rows, late=int(self.on_device))
        return True

    def _place(self, rows: Sequence[Row]) -> None:
        """Rows of the cache as they are now; those that are new get a slot."""
        here = [row.index for row in rows]
        for index in self.slots.keys() - set(here):
            self.free.append(self.slots.pop(index))
        new = [row for row in rows if row.index not in self.slots]
        self.slots |= {row.index: self.free.pop() for row in new}
        if new:
            self.draws.fill([(self.slots[row.index], row) for row in new])
        blank, idle = self.active.blank, [(0, 0, 0, self.cache.rows, self.active.blank)] * (power_of_two(len(rows)) - len(rows))
        owners = [self.active.index(row.request.adapter) for row in rows]
        state = [
            (row.tokens[-1], row.length, len(row.tokens), self.slots[row.index], blank if owner < 0 else owner)
            for row, owner in zip(rows, owners, strict=True)
        ]
        known = torch.tensor(state + idle).T.contiguous()
        self.state[:, : known.shape[1]].copy_(hardware.upload(known, self.base.device))
        self.placed = here

    def _write(self, rows: Sequence[Row]) -> None:
        """Ask the device for one more token of every row."""
        n = power_of_two(len(rows))
        self.cache.reserve(max(row.length for row in rows) + len(self.unread) + 1)
        way = n, self.cache.capacity
        if any(capacity != self.cache.capacity for _, capacity in self.ways):
            self.ways.clear()  # their cache is gone
        step: Callable[[], None] = self.ways.get(way) or partial(self._step, n)
        if self.on_device and way in self.ways and isinstance(step, partial):  # what comes once is not worth recording
            step = hardware.recorded(step, self.base.device)
        self.ways[way] = step
        step()
        self.unread.append(hardware.download(self.found[:, :n]))

    @torch.no_grad()
    def _step(self, n: int) -> None:
        """One more token of the first n rows. Nothing is waited for, no shape depends on what is computed, and all that stays is written in place."""
        tokens, places, written, slots, adapters = self.state[:, :n].unbind(0)
        running = [PaddedBlock(0, n, adapters, (n, 1))] if self.active.bank else []
        hidden = self.base.forward(tokens, places, StaticAttention(self.cache, places), self.active.bank, running)
        new, logprobs, missed = self.draws.next_tokens(self.base.head.logits(hidden), slots, written)
        self.found[:, :n].copy_(torch.stack([new.double(), logprobs.double(), missed.double()]))
        tokens.copy_(new)
        places.add_(1)
        written.add_(1)

    def _read(self, rows: Sequence[Row], late: int) -> None:
        """Hand tokens to their rows until at most `late` are unread, and none where a row is at its end or has missed."""
        while self.unread and (len(self.unread) > late or self.missed or any(self._ends(row) for row in rows)):
            tokens, logprobs, missed = self.unread.popleft()()[:, : len(rows)].tolist()
            for row, token, logprob, lost in zip(rows, tokens, logprobs, missed, strict=True):
                if lost and row.reason is None:
                    self.missed.add(row.index)
                if row.reason is None and row.index not in self.missed:
                    row.length += 1
                    self.endings.append(row, int(token), logprob)

    def _ends(self, row: Row) -> bool:
        """Whether it has come to its end, or will with what is unread."""
        return row.reason is not None or len(row.tokens) + len(self.unread) >= row.request.sampling.max_tokens
