"""Does the model still know what no document was about? Forgetting is the known price of learning (SEAL section 5; RL's Razor, arXiv 2509.04259)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from selfedit.guards.base import AdapterSeen, Guard, ShrinkSettings, accept, guard, reject
from selfedit.types import Score, ScoreRequest, Verdict

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


class ForgettingSettings(ShrinkSettings):
    """Settings of `forgetting`."""

    max_nats: float = Field(2.0, gt=0)
    """Largest loss in mean log-likelihood a token, in nats, on general knowledge that no document is about."""


@guard("forgetting", means="an adapter under which general knowledge became too unlikely is rejected", settings=ForgettingSettings)
class Forgetting(Guard):
    """Compares the endings of the anchors under the adapter and without it."""

    def verdict(self, seen: AdapterSeen) -> Verdict:
        """The mean loss of the anchors against the limit."""
        tokenizer, engine = seen.policy.engine.tokenizer, seen.policy.engine
        anchors = [(tokenizer.encode(a), tokenizer.encode_more(b)) for a, b in ANCHORS]
        before, after = (engine.score([ScoreRequest(a, b, who) for a, b in anchors]) for who in (None, seen.adapter))
        return forgetting(before, after, self.settings.max_nats)


def forgetting(before: Sequence[Score], after: Sequence[Score], limit: float) -> Verdict:
    """Rejects where the endings of the anchors have lost more than `limit` nats a token on average; scores are paired."""
    losses = [b.mean - a.mean for b, a in zip(before, after, strict=True)]
    loss = sum(losses) / len(losses)
    reason = f"general knowledge lost {loss:.2f} nats a token, {limit:.2f} are allowed (recipe: guard.forgetting.max_nats)"
    return accept(reason) if math.isfinite(loss) and loss <= limit else reject(reason)
