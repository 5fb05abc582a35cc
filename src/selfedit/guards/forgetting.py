"""Does the model still know what no document was about? Forgetting is the known price of learning (SEAL section 5; RL's Razor, arXiv 2509.04259)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from selfedit.types import Score, Verdict

ANCHORS = (
    ("The capital of France is", " Paris."),
    ("Water freezes at a temperature of", " 0 degrees Celsius."),
    ("The opposite of hot is", " cold."),
    ("The Earth revolves around the", " Sun."),
    ("A week has seven", " days."),
    ("Two plus two equals", " four."),
    ("The largest ocean on Earth is the", " Pacific Ocean."),
    ("In the morning the sun rises in the", " east."),
    ("Plants use sunlight to make food in a process called", " photosynthesis."),
    ("Romeo and Juliet was written by William", " Shakespeare."),
    ("Once upon a time, there was a little girl who lived in a small house near the", " forest with her grandmother."),
    ("She opened the window because the room was too", " hot."),
)
"""Beginnings and endings that any language model knows, about nothing that anyone would teach it."""


def forgetting(before: Sequence[Score], after: Sequence[Score], limit: float) -> Verdict:
    """Rejects where the endings of the anchors have lost more than `limit` nats a token on average; scores are paired."""
    losses = [b.mean - a.mean for b, a in zip(before, after, strict=True)]
    loss = sum(losses) / len(losses)
    reason = f"general knowledge lost {loss:.2f} nats a token, {limit:.2f} are allowed (recipe: guards.max_forgetting)"
    return Verdict("forgetting", "accept" if math.isfinite(loss) and loss <= limit else "reject", reason)
