"""How many tokens go into one pass: what its forward pass keeps for the backward pass has to fit into the memory of the device.

Shapes: N flat tokens, T tokens of a sequence, H query heads, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.attention import BUCKET_WASTE, RecordingAttention
from selfedit.engine.torch.bank import Bank
from selfedit.engine.torch.cross_entropy import GPU_CHUNK
from selfedit.engine.torch.kv_cache import KVCache
from selfedit.engine.torch.lora import ActiveAdapters
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.prefill import Text, prefill
from selfedit.errors import EngineError

R = TypeVar("R")

MOST_TOKENS = 8192
"""Of a pass on a GPU: larger ones are no faster."""
SHARE = 0.9
"""Of the free memory that may be planned with."""
LOGIT_BYTES = 14
"""What the loss holds of each logit of a chunk at its height: it, its probability and its gradient, in bf16 and fp32."""
PROBE = 32
"""Tokens of a pass that measures."""
CACHE_TOKENS = 24576
"""Of the key-value cache on a CPU, all workers together."""
MOST_CACHE_TOKENS = 16 * CACHE_TOKENS
"""On a GPU: the logits of more rows than these are for would need much memory themselves."""
CACHE_SHARE = 0.3
"""Of a GPU's free memory that the key-value cache may take."""


class Budget:
    """Tokens of a pass, about. Where a pass finds no memory, those that follow have at most half as many."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def halve(self, tokens: int) -> None:
        """After a pass of so many tokens that found none."""
        self.tokens = max(1, min(self.tokens, tokens // 2))


@dataclass(frozen=True, slots=True)
class Kept:
    """What a training pass keeps for its backward pass in bytes: `token` for each token, `pair` for each query and key, all heads and layers."""

    token: float
    pair: float
    layers: int

    def of(self, lengths: Sequence[int]) -> float:
        """Of a pass over sequences of these lengths, without padding."""
        return self.token * sum(lengths) + self.pair * sum(n * n for n in lengths)

    def tokens(self, longest: int, vocabulary: int, free: float) -> int:
        """How many tokens of sequences of at most `longest` there is room for: at least 1, at most `MOST_TOKENS`.

        At its height a pass also holds what one layer computes with: about twice what it keeps of a token, in attention six times; the padding of
        two buckets; and a chunk of logits.
        """
        each = self.token * (1 + 2 / self.layers) + longest * self.pair * (1 + 6 / self.layers)
        room = SHARE * free - 2 * BUCKET_WASTE * self.pair - LOGIT_BYTES * GPU_CHUNK * vocabulary
        return max(1, min(MOST_TOKENS, int(room / each)))


def measure(base: Base, bank: Bank) -> Kept:
    """Two passes over a few tokens, of which is counted what autograd keeps: in sequences of one token, and in one sequence."""
    own = {z.untyped_storage().data_ptr() for z in (*base.backbone.parameters(), *base.backbone.buffers())}
    own |= {z.untyped_storage().data_ptr() for z in (*bank.down, *bank.up, bank.scale) if z is not None}
    short, layers = _kept_bytes(base, bank, [1] * PROBE, own)
    long, _ = _kept_bytes(base, bank, [PROBE], own)
    pair = (long - short) / (PROBE * PROBE - PROBE)
    return Kept(short / PROBE - pair, pair, layers)


def _kept_bytes(base: Base, bank: Bank, lengths: Sequence[int], own: set[int]) -> tuple[int, int]:
    """Bytes that a forward pass keeps beside the weights, and how many layers attend."""
    found: dict[int, int] = {}

    def note(z: Tensor) -> Tensor:
        storage = z.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return z

    N, attend = sum(lengths), RecordingAttention(lengths, base.device, base.flash)
    tokens = torch.zeros(N, dtype=torch.long, device=base.device)
    positions = torch.cat([torch.arange(n) for n in lengths]).to(base.device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda z: z):
        hidden = base.forward(tokens, positions, attend, bank, base.blocks([(0, N)]))
    del hidden
    return sum(found.values()), max(1, len(attend.options))


def pass_tokens(arena: Arena, longest: int) -> int:
    """Tokens of a training pass on a GPU, by the memory that is free now, for sequences of at most `longest`. Each layout is measured once."""
    base, layout = arena.base, arena.layout
    if layout not in base.measured:
        base.measured[layout] = measure(base, arena.bank)
    head = base.head.weight
    kept: Kept = base.measured[layout]
    free = hardware.free_bytes(base.device) / (2 if base.training_graphs.active else 1)  # what graphs hold is not free for other passes
    return kept.tokens(longest, 0 if head is None else head.shape[0], free)


def fitting(work: Callable[[], R], parts: int) -> R | None:
    """What a pass without gradients comes to; None where it finds no memory and has several parts, to be tried again with half of them."""
    try:
        return work()
    except torch.OutOfMemoryError as error:
        if parts == 1:
            raise EngineError("a text does not fit into the memory of the device: use shorter passages, or a smaller engine.cache_tokens") from error
    empty_cache()
    return None


def empty_cache() -> None:
    """Give back to the device what torch keeps in pieces that were too small."""
    torch.cuda.empty_cache()  # nothing happens where no GPU is in use


@torch.no_grad()
def token_bytes(base: Base) -> int:
    """What the key-value cache takes for a token, bytes: looked up in the cache of one token, because layers may differ."""
    cache = KVCache(1)
    prefill(base, ActiveAdapters({}, [None]), cache, [Text(None, (0,), 0)])
    return sum(z.nbytes for pair in cache.layers.values() for z in pair) // cache.capacity


def cache_tokens(each: int, free: int) -> int:
    """Tokens of the key-value cache on a GPU, given the bytes of one and those that are free."""
    return max(1, min(MOST_CACHE_TOKENS, int(CACHE_SHARE * free / each)))
