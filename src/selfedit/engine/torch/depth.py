"""Passes through some of a model's decoder layers: what comes out below the first layer that adapters change is the same under all of them.

Shapes: N flat tokens, d hidden size.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(slots=True)
class Span:
    """The decoder layers [first, end) that a pass goes through.

    `states` (N, d) are what enters layer `first`, None where that is the first of all; the pass leaves in `left` (N, d) what would enter layer `end`,
    None where there is no such layer.
    """

    first: int
    end: int
    states: Tensor | None = None
    left: Tensor | None = None


class Depth(threading.local):
    """The layers of the forward pass that is running in this thread; None for all."""

    span: Span | None = None


def passable(layer: nn.Module, number: int, depth: Depth) -> None:
    """Let decoder layer `number` hand on what it is given, unchanged, in passes that leave it out."""
    own = layer.forward

    def forward(hidden_states: Tensor, *args: Any, **options: Any) -> Any:
        """hidden_states (1, N, d) → the same shape, as the model's own layers."""
        span = depth.span
        if span is None:
            return own(hidden_states, *args, **options)
        if number == span.end:
            span.left = hidden_states.flatten(0, 1)
        if not span.first <= number < span.end:
            return hidden_states
        entering = span.states[None] if number == span.first and span.states is not None else hidden_states
        return own(entering, *args, **options)

    layer.forward = forward
