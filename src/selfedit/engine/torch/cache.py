"""The key-value cache of running completions: rows [0, n) are active, every row has the same capacity, which grows with the longest.

Shapes: R rows, G key-value heads, C capacity in tokens, D head size, n active rows, H = r · G query heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfedit.engine.torch.attention import FlatAttend
from selfedit.engine.torch.loss import capped, wide

GROWTH = 64
"""Tokens by which the capacity grows: a product over a cache that is full to its last place needs no copy of it."""


class Cache:
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
        before, self.capacity = self.capacity, -(-length // GROWTH) * GROWTH
        for index, (keys, values) in self.layers.items():
            grown = tuple(z.new_zeros(*z.shape[:2], self.capacity, z.shape[3]) for z in (keys, values))
            for new, old in zip(grown, (keys, values), strict=True):
                new[:, :, :before] = old
            self.layers[index] = grown  # type: ignore[assignment]

    def write(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put k and v (N, G, D) at `places` (N,) = row · C + position; returns the layer's keys and values."""
        keys, values = self.layer(layer, k)
        _, G, D = k.shape
        C = self.capacity
        at = (places // C * (G * C) + places % C)[:, None] + torch.arange(G, device=places.device) * C  # (N, G)
        for z, new in ((keys, k), (values, v)):
            z.view(-1, D).index_copy_(0, at.view(-1), new.reshape(-1, D))
        return keys, values

    def copy(self, sources: Sequence[int], targets: Sequence[int], length: int | None = None) -> None:
        """Rows `targets` become rows `sources`, or their first `length` tokens do."""
        for pair in self.layers.values():
            for z in pair:
                z[list(targets), :, :length] = z[list(sources), :, :length]

    def clear(self, rows: slice) -> None:
        """Zeros: what a row's last tenant left may not be finite, and 0 times NaN is NaN."""
        for pair in self.layers.values():
            for z in pair:
                z[rows] = 0


class Prefill(FlatAttend):
    """Attention of whole prompts, or of what follows the first `prefix` tokens that a row already holds; leaves keys and values in the cache."""

    def __init__(self, cache: Cache, rows: Sequence[int], lengths: Sequence[int], prefixes: Sequence[int], device: torch.device) -> None:
        super().__init__(lengths, device)
        self.cache, self.rows, self.prefixes = cache, torch.tensor(rows, device=device), torch.tensor(prefixes, device=device)
        self.after = any(prefixes)
        spans = zip(rows, lengths, prefixes, strict=True)
        self.places = torch.cat([torch.arange(p, p + n, device=device) + row * cache.capacity for row, n, p in spans])
        self._seen: dict[tuple[int, int | None], Tensor] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (N, H, D), k and v (N, G, D) → (N, H, D)."""
        keys, values = self.cache.write(layer, self.places, k, v)
        if not self.after:
            return super().__call__(layer, q, k, v, scale, window, softcap)
        out = q.new_empty(q.shape)
        for i, b in enumerate(self.buckets):
            S, T = b.shape
            longest = min(int(self.prefixes[b.members].max()) + T, self.cache.capacity)
            ks, vs = (z[self.rows[b.members], :, :longest].flatten(0, 1) for z in (keys, values))
            qs = b.fold(q, k.shape[1])
            logits = capped(wide(torch.bmm(qs, ks.transpose(1, 2))).mul_(scale), softcap)
            p = logits.view(S, -1, T, longest).add_(self.seen(i, longest, window)).softmax(-1).to(q.dtype)
            b.unfold(torch.bmm(p.view(len(qs), -1, longest), vs), out)
        return out

    def seen(self, bucket: int, longest: int, window: int | None) -> Tensor:
        """(S, 1, T, C): -inf for what comes later or has left the window."""
        if (bucket, window) not in self._seen:
            b = self.buckets[bucket]
            position = self.prefixes[b.members, None] + torch.arange(b.shape[1], device=self.device)
            self._seen[bucket, window] = hidden(position[:, :, None] - torch.arange(longest, device=self.device), window)[:, None]
        return self._seen[bucket, window]


class Decode:
    """Attention of one new token of each active row to everything before it.

    `order` (n,) is the cache row of each token of the batch, `positions` (n,) the position of its new token.
    """

    def __init__(self, cache: Cache, order: Tensor, positions: Tensor) -> None:
        self.cache, self.places = cache, order * cache.capacity + positions
        self.order: Tensor | None = None if bool((order[1:] > order[:-1]).all()) else order
        self.back = torch.argsort(order)
        self.ages = positions[self.back, None] - torch.arange(cache.capacity, device=order.device)  # (n, C) by cache row
        self._masks: dict[int | None, Tensor] = {}

    def mask(self, window: int | None) -> Tensor:
        """(n, 1, C) by cache row: -inf for what is not yet written or has left the window."""
        if window not in self._masks:
            self._masks[window] = hidden(self.ages, window)[:, None]
        return self._masks[window]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (n, H, D), k and v (n, G, D) → (n, H, D)."""
        n, H, D = q.shape
        G = k.shape[1]
        keys, values = (z[:n].flatten(0, 1) for z in self.cache.write(layer, self.places, k, v))  # (n · G, C, D)
        qs = (q if self.order is None else q[self.back]).reshape(n * G, H // G, D)
        logits = capped(wide(torch.bmm(qs, keys.transpose(1, 2))).mul_(scale), softcap)
        p = logits.view(n, H, -1).add_(self.mask(window)).softmax(-1).to(q.dtype)
        out = torch.bmm(p.view(n * G, H // G, -1), values).view(n, H, D)
        return out if self.order is None else out[self.order]


def hidden(age: Tensor, window: int | None) -> Tensor:
    """0 where a key may be seen, -inf where it is younger than the query or has left the window."""
    unseen = age < 0
    if window is not None:
        unseen |= age >= window
    return torch.zeros(age.shape, device=age.device).masked_fill_(unseen, float("-inf"))
