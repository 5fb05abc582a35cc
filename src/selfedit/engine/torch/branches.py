"""Sequences of a training pass that begin alike: what several of them begin with is computed once, forward and backward.

The prompts of self-edits share an example, a passage, or both. The flat batch holds a common beginning once, and then the tokens that each sequence
has for itself. A sequence attends to its beginning and to its own tokens. For this, rows of k and v are repeated for each sequence; the linear
layers, nearly all of the work, see each token once. Prefix Grouper (arXiv 2506.05433) does so with one beginning, this with a tree of them; for
reading, see `prefill`.

Shapes: N flat tokens, S sequences, M tokens of all sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from selfedit.engine.torch import hardware
from selfedit.engine.torch.attention import Bucket, Flash, FlatAttention, bucket, grouped_by_length
from selfedit.engine.torch.prefill import in_common
from selfedit.types import Tokens

LEAST = 32
"""Tokens from which on a common beginning is computed once. Shorter ones are left: each would make buckets of its own."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Sequences of several jobs, those of a job in one run of the flat batch.

    `rows` are the flat rows of each sequence, in the order in which they were given; `order` is that in which their `own` last tokens stand in the
    batch; `sizes` are the flat rows of each job. `tokens` and `positions` (N,) are those of the flat batch.
    """

    rows: list[list[int]]
    own: list[int]
    order: list[int]
    sizes: list[int]
    tokens: list[int]
    positions: list[int]

    @classmethod
    def of(cls, jobs: Sequence[Sequence[Tokens]]) -> Tree:
        """The tree of the sequences of each job. A job of which no two share enough keeps its order."""
        made = cls([], [], [], [], [], [])
        for texts in jobs:
            first, start, sharing = len(made.rows), len(made.tokens), by_beginning(texts)
            made.rows.extend([] for _ in texts)
            made.own.extend(0 for _ in texts)
            before: Tokens = ()
            path: list[int] = []
            for i in sharing or range(len(texts)):
                shared, at = common(before, texts[i]) if sharing else 0, len(made.tokens)
                made.tokens.extend(texts[i][shared:])
                made.positions.extend(range(shared, len(texts[i])))
                before, path = texts[i], [*path[:shared], *range(at, len(made.tokens))]
                made.rows[first + i], made.own[first + i] = path, len(made.tokens) - at
                made.order.append(first + i)
            made.sizes.append(len(made.tokens) - start)
        return made

    @property
    def branched(self) -> bool:
        """Whether any sequences share a beginning."""
        return len(self.tokens) < sum(map(len, self.rows))

    def attention(self, device: torch.device, flash: Flash | None) -> FlatAttention:
        """Attention inside each sequence. `flash` can only be used where nothing is shared: it takes whole sequences."""
        own = [self.own[i] for i in self.order]
        return BranchedAttention([self.rows[i] for i in self.order], own, device) if self.branched else FlatAttention(own, device, flash)


def by_beginning(texts: Sequence[Tokens]) -> list[int]:
    """The order in which sequences that begin alike are neighbours; empty where no two share `LEAST` tokens."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    return order if any(common(texts[a], texts[b]) for a, b in pairwise(order)) else []


def common(one: Tokens, other: Tokens) -> int:
    """How many tokens of their beginning are computed once: all but the last of either at most, and 0 where they are fewer than `LEAST`."""
    room = min(len(one), len(other)) - 1
    if room < LEAST or one[:LEAST] != other[:LEAST]:
        return 0
    return in_common(one, other, room)


class BranchedAttention(FlatAttention):
    """Causal attention inside sequences, each of which sees rows of others as its beginning."""

    def __init__(self, rows: Sequence[Sequence[int]], own: Sequence[int], device: torch.device) -> None:
        """`rows` are the flat rows of each sequence, the last of which, `own` of them, stand in the batch one sequence after another."""
        super().__init__(own, device)
        self.whole = [len(some) for some in rows]
        self._longest = max(self.whole)
        self.rows = hardware.upload(torch.tensor([row for some in rows for row in some]), device)

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Sequences with beginnings of the same length, by how many tokens they have of their own."""
        queries, keys = [0, *accumulate(self.lengths)], [0, *accumulate(self.whole)]
        beginnings = [n - own for n, own in zip(self.whole, self.lengths, strict=True)]
        made: list[Bucket] = []
        for beginning in dict.fromkeys(beginnings):
            members = [i for i, n in enumerate(beginnings) if n == beginning]
            for some in grouped_by_length(members, self.whole, self.device):
                asked = bucket(some, queries, self.lengths, self.device)
                seen = bucket(some, keys, self.whole, self.device)
                made.append(Branch(seen.members, seen.shape, seen.rows, seen.take, seen.back, seen.real, asked=asked, beginning=beginning))
        return made

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, softcap: float | None) -> Tensor:
        """q (N, H, D), k and v (N, G, D) → (N, H, D); k and v are repeated to (M, G, D)."""
        k, v = k.index_select(0, self.rows), v.index_select(0, self.rows)
        return super().__call__(layer, q, k, v, scale, window, softcap)

    def texts(self, tokens: Tensor) -> list[tuple[Tensor, int]]:
        """As in `AttentionPass`."""
        whole = tokens.index_select(0, self.rows).split(self.whole)  # type: ignore[no-untyped-call]
        return list(zip(whole, self.lengths, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Bucket):
    """A bucket of sequences whose first `beginning` tokens stand elsewhere in the batch: their queries are rows of their own, `asked`."""

    asked: Bucket
    beginning: int

    def parts(self) -> list[tuple[Bucket, int]]:
        """As in `Bucket`: some of the queries, and how many keys they see."""
        return [(part, self.beginning + end) for part, end in self.asked.parts()]
