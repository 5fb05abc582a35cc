"""Completions on their way, and when they are at their end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from selfedit.engine.base import Tokenizer
from selfedit.engine.torch.sampling import UNIFORMS
from selfedit.types import Completion, SampleRequest


@dataclass(slots=True)
class Row:
    """A request on its way; `length` tokens of it are in the cache, its random numbers are `uniforms` (max_tokens, UNIFORMS)."""

    index: int
    request: SampleRequest
    uniforms: Tensor
    length: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str | None = None
    reason: Literal["stop", "length"] | None = None

    @classmethod
    def of(cls, index: int, request: SampleRequest) -> Row:
        """Random numbers come from the request's own seed."""
        s = request.sampling
        return cls(index, request, torch.rand(s.max_tokens, UNIFORMS, generator=torch.Generator().manual_seed(s.seed), dtype=torch.float64))


@dataclass(frozen=True, slots=True)
class Endings:
    """What ends a completion beside its length: the model's end tokens `ends`, and the request's own stop strings."""

    tokenizer: Tokenizer
    ends: frozenset[int]

    def append(self, row: Row, token: int, logprob: float) -> None:
        """One more token. Sets the reason, and the text where it is not that of all tokens, once the row has come to its end."""
        row.tokens.append(token)
        row.logprobs.append(logprob)
        s = row.request.sampling
        if token in self.ends:
            row.text, row.reason = self.tokenizer.decode(row.tokens[:-1]), "stop"
            return
        if s.stop:
            tail = self.tokenizer.decode(row.tokens[-(max(map(len, s.stop)) + 8) :])
            if any(stop in tail for stop in s.stop):
                text = self.tokenizer.decode(row.tokens)
                row.text, row.reason = text[: min(text.find(stop) for stop in s.stop if stop in text)], "stop"
                return
        if len(row.tokens) >= s.max_tokens:
            row.reason = "length"

    def completion(self, row: Row) -> Completion:
        """Of a row at its end."""
        assert row.reason is not None
        text = self.tokenizer.decode(row.tokens) if row.text is None else row.text
        return Completion(text, tuple(row.tokens), tuple(row.logprobs), row.reason)
