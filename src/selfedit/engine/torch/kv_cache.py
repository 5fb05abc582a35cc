"""The key-value cache of running completions: rows [0, n) are active, every row has the same capacity, which grows with the longest.

Shapes: R rows, G key-value heads, C capacity in tokens, D head size, n active rows, H = r · G query heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.attention import Bucket, Ends, Flash, FlatAttention
from selfedit.engine.torch.cross_entropy import capped, wide

GROWTH = 64
"""Tokens by which the capacity grows: a product over a cache that is full to its last cell needs no copy of it."""


def rounded(length: int) -> int:
    """The capacity that rows of so many tokens come to have."""
    return -(-length // GROWTH) * GROWTH


class Cells:
    """Where the tokens of a pass go in the cache: token j to position `positions[j]` of row `rows[j]`, in every layer.

    Both are (N,), on the CPU or on the device.
    """

    def __init__(self, cache: KVCache, rows: Tensor, positions: Tensor, device: torch.device) -> None:
        self.capacity, self.device = cache.capacity, device
        self._rows, self._positions = rows, positions
        self._found: dict[int, Tensor] = {}

    @classmethod
    def of_spans(cls, cache: KVCache, spans: Sequence[tuple[int, int, int]], device: torch.device) -> Cells:
        """Of spans (row, position of the first token, number of tokens), one after another."""
        rows = torch.tensor([row for row, _, n in spans for _ in range(n)])
        return cls(cache, rows, torch.tensor([i for _, p, n in spans for i in range(p, p + n)]), device)

    def of_heads(self, G: int) -> Tensor:
        """(N · G,) the place of each token and head among the (R · G · C) of a layer. Layers with as many heads share it."""
        if G not in self._found:
            heads = torch.arange(G, device=self._rows.device) * self.capacity
            places = (self._rows * (G * self.capacity) + self._positions)[:, None] + heads
            self._found[G] = hardware.upload(places.view(-1), self.device)
        return self._found[G]


class KVCache:
    """Keys and values of all layers, made on first use (a model's layers may differ in heads)."""

    def __init__(self, rows: int) -> None:
        self.rows, self.capacity = rows, 0
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, index: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (R, G, C, D) of a layer; `like` (N, G, D) gives heads, size, type and device."""
        if index not in self.layers:
            _, G, D = like.shape
            shape = (self.rows, G, self.capacity, D)
            self.layers[index] = (like.new_zeros(shape), like.new_zeros(shape))
        return self.layers[index]

    def reserve(self, length: int) -> None:
        """Make room for `length` tokens in every row."""
        if length <= self.capacity:
            return
        before, self.capacity = self.capacity, rounded(length)
        for index, (keys, values) in self.layers.items():
            grown = tuple(z.new_zeros(*z.shape[:2], self.capacity, z.shape[3]) for z in (keys, values))
            for new, old in zip(grown, (keys, values), strict=True):
                new[:, :, :before] = old
            self.layers[index] = grown  # type: ignore[assignment]

    def write(self, layer: int, cells: Cells, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put k and v (N, G, D) at `cells`; returns the layer's keys and values."""
        keys, values = self.layer(layer, k)
        _, G, D = k.shape
        for z, new in ((keys, k), (values, v)):
            z.view(-1, D).index_copy_(0, cells.of_heads(G), new.reshape(-1, D))
        return keys, values

    def remember(self, cells: Cells, tokens: Tensor) -> Tensor:
        """The cache of a model that reads whole texts: put tokens (N,) at `cells`; returns the tokens of all rows (R, C)."""
        one_head = tokens[:, None, None]
        return self.write(0, cells, one_head, one_head)[0][:, 0, :, 0]

    def copy(self, sources: Sequence[int], targets: Sequence[int], length: int | None = None) -> None:
        """Rows `targets` become rows `sources`, or their first `length` tokens do. No row is both."""
        moved: list[Tensor] = []
        for keys, values in self.layers.values():
            moved = moved or [hardware.upload(torch.tensor(rows), keys.device) for rows in (targets, sources)]
            for z in (keys[:, :, :length], values[:, :, :length]):
                z.index_copy_(0, moved[0], z.index_select(0, moved[1]))

    def clear(self, rows: slice) -> None:
        """Zeros: what a row's last tenant left may not be finite, and 0 times NaN is NaN."""
        for pair in self.layers.values():
            for z in pair:
                z[rows] = 0


class _CachedPrefix:
    """The part of a bucket's sequences that the cache already holds: their `rows` (S,), `lengths` (S,), and the `longest` with the new tokens."""

    def __init__(self, bucket: Bucket, spans: Sequence[tuple[int, int, int]], capacity: int, device: torch.device) -> None:
        rows, lengths, _ = zip(*(spans[i] for i in bucket.members), strict=True)
        self.rows, self.lengths = (hardware.upload(torch.tensor(z), device) for z in (rows, lengths))
        self.longest = min(max(lengths) + bucket.shape[1], capacity)


class PrefillAttention(FlatAttention):
    """Attention of whole prompts, or of what follows the first `prefix` tokens that a row already holds; leaves keys and values in the cache."""

    def __init__(
        self, cache: KVCache, rows: Sequence[int], lengths: Sequence[int], prefixes: Sequence[int], device: torch.device, flash: Flash | None = None
    ) -> None:
        super().__init__(lengths, device, flash)
        self.cache, self.spans = cache, list(zip(rows, prefixes, lengths, strict=True))
        self.cells = Cells.of_spans(cache, self.spans, device)
        self.prefixed = any(prefixes)
        self._seen: dict[tuple[int, int | None], Tensor] = {}

    @cached_property
    def prefixes_cached(self) -> list[_CachedPrefix]:
        """Of each bucket."""
        return [_CachedPrefix(b, self.spans, self.cache.capacity, self.device) for b in self.buckets]

    @cached_property
    def whole(self) -> tuple[Cells, Ends]:
        """Where each sequence stands in the cache from its beginning, one after another."""
        wholes = [(row, 0, p + n) for row, p, n in self.spans]
        return Cells.of_spans(self.cache, wholes, self.device), Ends.of([n for _, _, n in wholes], self.device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (N, H, D), k and v (N, G, D) → (N, H, D)."""
        keys, values = self.cache.write(layer, self.cells, k, v)
        if not self.prefixed:
            return super().__call__(layer, q, k, v, scale, window, softcap)
        if self.flash and softcap is None:
            (cells, ends), (_, G, D) = self.whole, k.shape
            k, v = (z.view(-1, D).index_select(0, cells.of_heads(G)).view(-1, G, D) for z in (keys, values))
            return self.flash(q, k, v, self.ends, ends, scale, window)
        out = q.new_empty(q.shape)
        for i, (b, prefix) in enumerate(zip(self.buckets, self.prefixes_cached, strict=True)):
            S, T = b.shape
            longest = prefix.longest
            ks, vs = (z[prefix.rows, :, :longest].flatten(0, 1) for z in (keys, values))
            qs = b.fold(q, k.shape[1])
            logits = capped(wide(torch.bmm(qs, ks.transpose(1, 2))).mul_(scale), softcap)
            p = logits.view(S, -1, T, longest).add_(self.seen(i, window)).softmax(-1).to(q.dtype)
            b.unfold(torch.bmm(p.view(len(qs), -1, longest), vs), out)
        return out

    def texts(self, tokens: Tensor) -> list[tuple[Tensor, int]]:
        """As in `AttentionPass`; the tokens are left in the cache."""
        rows = self.cache.remember(self.cells, tokens)
        return [(rows[row, : p + n], n) for row, p, n in self.spans]

    def seen(self, bucket: int, window: int | None) -> Tensor:
        """(S, 1, T, C): -inf for what comes later or has left the window."""
        if (bucket, window) not in self._seen:
            b, prefix = self.buckets[bucket], self.prefixes_cached[bucket]
            position = prefix.lengths[:, None] + torch.arange(b.shape[1], device=self.device)
            self._seen[bucket, window] = age_mask(position[:, :, None] - torch.arange(prefix.longest, device=self.device), window)[:, None]
        return self._seen[bucket, window]


class DecodeAttention:
    """Attention of one new token of each active row to everything before it.

    `order` is the cache row of each of the n tokens of the batch, `positions` where in its row the new token stands.
    """

    def __init__(self, cache: KVCache, order: Sequence[int], positions: Sequence[int], device: torch.device) -> None:
        self.cache, self.spans = cache, list(zip(order, positions, strict=True))
        self.cells = Cells(cache, torch.tensor(list(order)), torch.tensor(list(positions)), device)
        by_row = sorted(range(len(order)), key=order.__getitem__)
        last, self.back, there = hardware.upload(torch.tensor([[positions[i] for i in by_row], by_row, list(order)]), device)
        self.order: Tensor | None = None if by_row == list(range(len(order))) else there
        self.ages = last[:, None] - torch.arange(cache.capacity, device=device)  # (n, C) by cache row
        self._masks: dict[int | None, Tensor] = {}

    def texts(self, tokens: Tensor) -> list[tuple[Tensor, int]]:
        """As in `AttentionPass`; the tokens are left in the cache."""
        rows = self.cache.remember(self.cells, tokens)
        return [(rows[row, : p + 1], 1) for row, p in self.spans]

    def mask(self, window: int | None) -> Tensor:
        """(n, 1, C) by cache row: -inf for what is not yet written or has left the window."""
        if window not in self._masks:
            self._masks[window] = age_mask(self.ages, window)[:, None]
        return self._masks[window]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (n, H, D), k and v (n, G, D) → (n, H, D)."""
        n, H, D = q.shape
        G = k.shape[1]
        keys, values = (z[:n].flatten(0, 1) for z in self.cache.write(layer, self.cells, k, v))  # (n · G, C, D)
        qs = (q if self.order is None else q.index_select(0, self.back)).reshape(n * G, H // G, D)
        logits = capped(wide(torch.bmm(qs, keys.transpose(1, 2))).mul_(scale), softcap)
        p = logits.view(n, H, -1).add_(self.mask(window)).softmax(-1).to(q.dtype)
        out = torch.bmm(p.view(n * G, H // G, -1), values).view(n, H, D)
        return out if self.order is None else out.index_select(0, self.order)


def age_mask(age: Tensor, window: int | None) -> Tensor:
    """0 where a key may be seen, -inf where it is younger than the query or has left the window."""
    unseen = age < 0
    if window is not None:
        unseen |= age >= window
    return torch.zeros(age.shape, device=age.device).masked_fill_(unseen, float("-inf"))
