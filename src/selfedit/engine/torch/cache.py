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

    def copy(self, source: int, target: int) -> None:
        """Row `target` becomes row `source`."""
        for pair in self.layers.values():
            for z in pair:
                z[target] = z[source]


class Prefill(FlatAttend):
    """Attention of whole prompts, which leaves their keys and values in the cache."""

    def __init__(self, cache: Cache, rows: list[int], lengths: list[int], device: torch.device) -> None:
        super().__init__(lengths, device)
        self.cache, self.rows, self.lengths = cache, rows, lengths

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (H, N, D), k and v (G, N, D) → (N, H, D)."""
        keys, values = self.cache.layer(layer, k)
        at = 0
        for row, n in zip(self.rows, self.lengths, strict=True):
            for z, new in ((keys, k), (values, v)):
                z[row, :, :n] = new[:, at : at + n]
                z[row, :, n:] = 0  # what the row's last tenant left may not be finite, and 0 times NaN is NaN
            at += n
        return super().__call__(layer, q, k, v, scale, window, softcap)


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
