"""Many texts read into the cache, each beginning that several of them share only once: a radix tree of the texts, a forward pass a level.

After RadixAttention (Zheng et al. 2023, SGLang), over the texts of one call. Shapes: n rows of a text, d hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.depth import Span
from selfedit.engine.torch.kv_cache import KVCache, PrefillAttention
from selfedit.engine.torch.lora import ActiveAdapters
from selfedit.engine.torch.model import Base
from selfedit.types import Adapter, Tokens

SHARED = 16
"""Tokens from which on a common beginning is read once."""


@dataclass(frozen=True, slots=True)
class Text:
    """Tokens to be read under an adapter; the hidden states of all but the first `shareable` tokens are wanted."""

    adapter: Adapter | None
    tokens: Tokens
    shareable: int


@dataclass(frozen=True, slots=True)
class Node:
    """Tokens [begin, end) that these texts, neighbours, share."""

    members: range
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Lower:
    """What texts come to below layer `first`, where no adapter of a call changes anything: `states` (T, d) by their tokens (T,)."""

    first: int
    states: Mapping[Tokens, Tensor]

    @classmethod
    def of(cls, base: Base, first: int, texts: Sequence[Tokens], budget_tokens: int) -> Lower:
        """Read different texts, sorted, through the layers below `first`; about `budget_tokens` tokens a pass."""
        active, states = ActiveAdapters({}, []), dict[Tokens, Tensor]()
        for some in parts(texts, budget_tokens):
            pieces = _read(base, active, KVCache(len(some)), [Text(None, one, len(one) - 1) for one in some], 0, Span(0, first))
            states |= {one: torch.cat(own) for one, own in zip(some, pieces, strict=True)}
        return cls(first, states)

    def span(self, base: Base, read: Sequence[tuple[Tokens, int, int]]) -> Span:
        """The rest of the layers, for tokens [begin, end) of these texts."""
        return Span(self.first, base.count, torch.cat([self.states[tokens][begin:end] for tokens, begin, end in read]))


def parts(texts: Sequence[Tokens], budget_tokens: int) -> Iterator[Sequence[Tokens]]:
    """Neighbours of about so many tokens together, at least one text."""
    first = tokens = 0
    for i, text in enumerate(texts):
        if i > first and tokens + len(text) > budget_tokens:
            yield texts[first:i]
            first, tokens = i, 0
        tokens += len(text)
    if texts:
        yield texts[first:]


def prefill(base: Base, active: ActiveAdapters, cache: KVCache, texts: Sequence[Text], first: int = 0, lower: Lower | None = None) -> list[Tensor]:
    """Hidden states (n, d) of each text's last tokens, at least of those that were wanted; text i is left in row `first` + i of the cache.

    Texts that share a beginning have to be neighbours, and those of an adapter too, in the order of `active`. Where the texts were read
    through the `lower` layers already, the cache has the others only.
    """
    return [pieces[-1] for pieces in _read(base, active, cache, texts, first, lower)]


def _read(base: Base, active: ActiveAdapters, cache: KVCache, texts: Sequence[Text], first: int, through: Lower | Span | None) -> list[list[Tensor]]:
    """The hidden states (n, d) of each text, in pieces from its beginning on; those of a shared piece are one tensor."""
    cache.reserve(max(len(t.tokens) for t in texts))
    cache.clear(slice(first, first + len(texts)))
    found: list[list[Tensor]] = [[] for _ in texts]
    for nodes in _levels(texts):
        heads = [n.members[0] for n in nodes]
        lengths = [n.end - n.begin for n in nodes]
        read = [(texts[n.members[0]].tokens, n.begin, n.end) for n in nodes]
        flat = [t for text, begin, end in read for t in text[begin:end]], [p for _, begin, end in read for p in range(begin, end)]
        tokens, positions = hardware.upload(torch.tensor(flat), base.device)
        attend = PrefillAttention(cache, [first + i for i in heads], lengths, [n.begin for n in nodes], base.device, base.flash)
        running = active.blocks([texts[i].adapter for i in heads], lengths, base)
        span = through.span(base, read) if isinstance(through, Lower) else through
        hidden = base.forward(tokens, positions, attend, active.bank, running, span).split(lengths)  # type: ignore[no-untyped-call]
        for node, states in zip(nodes, hidden, strict=True):
            for i in node.members:
                found[i].append(states)
        copies = [(first + n.members[0], first + i, n.end) for n in nodes for i in n.members[1:]]
        if copies:
            cache.copy([source for source, _, _ in copies], [target for _, target, _ in copies], max(end for _, _, end in copies))
    return found


def shared_prefix(one: Text, other: Text) -> int:
    """Length of the beginning that two texts can share, 0 under different adapters."""
    if one.adapter != other.adapter:
        return 0
    return in_common(one.tokens, other.tokens, min(one.shareable, other.shareable))


def in_common(one: Tokens, other: Tokens, most: int) -> int:
    """How many tokens two texts of at least `most` begin with in common, at most `most`."""
    return next((i for i, (a, b) in enumerate(zip(one[:most], other[:most], strict=True)) if a != b), most)


def _levels(texts: Sequence[Text]) -> list[list[Node]]:
    levels: list[list[Node]] = []

    def grow(members: range, begin: int, depth: int) -> None:
        """The subtree of texts that share everything up to `begin`."""
        if depth == len(levels):
            levels.append([])
        while members:
            end, size = len(texts[members[0]].tokens), 1
            for i in members[1:]:
                shared = shared_prefix(texts[members[0]], texts[i])
                if shared < begin + SHARED:
                    break
                end, size = min(end, shared), size + 1
            run, members = members[:size], members[size:]
            levels[depth].append(Node(run, begin, end))
            if size > 1:
                grow(run, end, depth + 1)

    grow(range(len(texts)), 0, 0)
    return levels
