"""How far has the model's own manner of speaking moved? Measured on what it says to everyday prompts.

The divergence KL(base || adapter), nats a token, is the mean over the base's own answers of how much likelier the base makes each token than the
adapter does. The answers are drawn at temperature 1, so that the mean estimates the divergence without bias. Tokens that the base draws can tell this
direction only: what an adapter says that the base never would is not among them. Forgetting follows the divergence (RL's Razor, arXiv 2509.04259).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from selfedit.guards.base import AdapterSeen, Guard, ShrinkSettings, accept, guard, reject
from selfedit.retention.everyday import LONGEST, everyday
from selfedit.types import SampleRequest, Sampling, Score, ScoreRequest, Verdict

if TYPE_CHECKING:
    from selfedit.policy import Policy

Answered = tuple[list[ScoreRequest], list[Score]]
"""The base's answers to prompts, and their log-likelihood under it."""


class DriftSettings(ShrinkSettings):
    """Settings of `drift`."""

    max_nats: float = Field(1.0, gt=0)
    """Largest divergence from the model without the adapter, nats a token."""
    prompts: int = Field(24, ge=1, le=120)
    """Everyday prompts that it is measured on."""


@guard("drift", means="an adapter under which the model's own answers to everyday prompts became too unlikely is rejected", settings=DriftSettings)
class Drift(Guard):
    """The base answers once for all adapters of a run."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._answered: dict[tuple[Any, ...], Answered] = {}

    def verdict(self, seen: AdapterSeen) -> Verdict:
        """The divergence against the limit."""
        policy = seen.policy
        weights = (id(policy.engine), *policy.merged)
        if weights not in self._answered:
            self._answered[weights] = spoken(policy, self.settings.prompts)
        requests, before = self._answered[weights]
        after = policy.engine.score([ScoreRequest(r.prompt, r.completion, seen.adapter) for r in requests])
        return drift(before, after, self.settings.max_nats)


def spoken(policy: Policy, prompts: int) -> Answered:
    """What the current weights say to the first everyday prompts of `check`, drawn at temperature 1."""
    asked = [
        SampleRequest(policy.render.ask(one.prompt), Sampling(LONGEST, 1.0, stop=policy.render.answer_stop, seed=n))
        for n, one in enumerate(everyday("check")[:prompts])
    ]
    requests = [ScoreRequest(r.prompt, drawn.tokens) for r, drawn in zip(asked, policy.sample(asked), strict=True) if drawn.tokens]
    return requests, policy.engine.score(requests)


def drift(before: Sequence[Score], after: Sequence[Score], limit: float) -> Verdict:
    """Rejects where the mean over all tokens is beyond `limit`; scores are paired. Raises ValueError where there is no token."""
    lost = [b - a for then, now in zip(before, after, strict=True) for b, a in zip(then.logprobs, now.logprobs, strict=True)]
    if not lost:
        raise ValueError("the model had nothing to say to any everyday prompt")
    nats = sum(lost) / len(lost)
    reason = f"{nats:.2f} nats a token away from the model without it, on {len(before)} of its own answers; {limit:.2f} are allowed"
    reason += " (recipe: guard.drift.max_nats)"
    return accept(reason) if math.isfinite(nats) and nats <= limit else reject(reason)
