"""The key-value cache of running completions: rows [0, n) are active, every row has the same capacity.

Shapes: R rows, G key-value heads, T capacity in tokens, D head size, n active rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selfedit.engine.torch.attention import FlatAttend


class Cache:
    """Keys and values of all layers, made on first use (a model's layers may differ in heads)."""

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows, self.capacity = rows, capacity
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, index: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (R, G, T, D) of a layer; `like` (G, N, D) gives heads, size, type and device."""
        if index not in self.layers:
            G, _, D = like.shape
            shape = (self.rows, G, self.capacity, D)
            self.layers[index] = (like.new_zeros(shape), like.new_zeros(shape))
        return self.layers[index]

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        """Row `target` becomes row `source`, or its first `length` tokens do."""
        for pair in self.layers.values():
            for z in pair:
                z[target, :, :length] = z[source, :, :length]


class Prefill(FlatAttend):
    """Attention of whole prompts, or of what follows the first `prefix` tokens that a row already holds; leaves keys and values in the cache."""

    def __init__(self, cache: Cache, rows: list[int], lengths: list[int], prefixes: list[int], device: torch.device) -> None:
        super().__init__(lengths, device)
        self.cache, self.rows, self.lengths, self.prefixes = cache, rows, lengths, prefixes

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (H, N, D), k and v (G, N, D) → (N, H, D)."""
        keys, values = self.cache.layer(layer, k)
        at = 0
        for row, n, p in zip(self.rows, self.lengths, self.prefixes, strict=True):
            for z, new in ((keys, k), (values, v)):
                z[row, :, p : p + n] = new[:, at : at + n]
                z[row, :, p + n :] = 0  # what the row's last tenant left may not be finite, and 0 times NaN is NaN
            at += n
        if not any(self.prefixes):
            return super().__call__(layer, q, k, v, scale, window, softcap)
        return self._after_prefix(q, keys, values, scale, window, softcap)

    def _after_prefix(self, q: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """Each row's new tokens see what the cache holds of it, sequence by sequence."""
        H, N, D = q.shape
        G = keys.shape[1]
        out = q.new_empty(N, H, D)
        at = 0
        for row, n, p in zip(self.rows, self.lengths, self.prefixes, strict=True):
            qs = q[:, at : at + n].reshape(G, H // G * n, D)
            logits = torch.matmul(qs, keys[row, :, : p + n].transpose(1, 2)).to(torch.promote_types(q.dtype, torch.float32)).mul_(scale)
            if softcap is not None:
                logits = torch.tanh(logits / softcap) * softcap
            seen = self.mask(p + n, window, logits.dtype)[p:]
            weights = logits.view(G, -1, n, p + n).add_(seen).softmax(-1).to(q.dtype).view(G, -1, p + n)
            out[at : at + n] = torch.matmul(weights, values[row, :, : p + n]).view(H, n, D).transpose(0, 1)
            at += n
        return out


class Decode:
    """Attention of one new token of each active row to everything before it.

    `order` (n,) is the cache row of each token of the batch, `places` (n,) the position of its new token.
    """

    def __init__(self, cache: Cache, order: Tensor, places: Tensor) -> None:
        self.cache, self.order, self.places = cache, order, places
        self.length = int(places.max()) + 1
        ages = places[torch.argsort(order), None] - torch.arange(self.length, device=order.device)[None]  # (n, T) by cache row
        self.back = torch.argsort(order)
        self.ages = ages
        self._masks: dict[int | None, Tensor] = {}

    def mask(self, window: int | None) -> Tensor:
        """(n, 1, 1, T) by cache row: -inf for what is not yet written or has left the window."""
        if window not in self._masks:
            hidden = self.ages < 0
            if window is not None:
                hidden |= self.ages >= window
            self._masks[window] = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, float("-inf"))[:, None, None]
        return self._masks[window]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (H, n, D), k and v (G, n, D) → (n, H, D)."""
        H, n, D = q.shape
        G = k.shape[0]
        keys, values = self.cache.layer(layer, k)
        keys[self.order, :, self.places] = k.transpose(0, 1)
        values[self.order, :, self.places] = v.transpose(0, 1)
        ks, vs = keys[:n, :, : self.length], values[:n, :, : self.length]
        qs = q.transpose(0, 1)[self.back].reshape(n, G, H // G, D)
        logits = torch.matmul(qs, ks.transpose(2, 3)).to(torch.promote_types(q.dtype, torch.float32)).mul_(scale)
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        p = logits.add_(self.mask(window)).softmax(-1).to(q.dtype)
        return torch.matmul(p, vs).view(n, H, D)[self.order]
