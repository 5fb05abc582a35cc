"""How much of an adapter does a guard accept? Before it is rejected its update is scaled down, by bisection.

After STABLE (arXiv 2510.16089): five bisections, and at least a tenth. What a guard measures is taken to grow with the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from selfedit.guards.base import AdapterSeen, Guard, judge
from selfedit.types import Verdict

LEAST = 0.1
"""The smallest scale: less of an adapter has nothing left to say."""
BISECTIONS = 5


def shrink(guards: Sequence[Guard], seen: AdapterSeen) -> list[Verdict]:
    """The verdicts of those guards that may scale the adapter down, each on what the one before it has left.

    The scale of the last verdict `shrink` satisfies all of them, unless one rejects.
    """
    found: list[Verdict] = []
    scale = 1.0
    for one in guards:
        if one.stage == "adapter" and one.shrinks and (verdict := _shrink(one, seen, scale)):
            found.append(verdict)
            scale = min(scale, verdict.scale)
    return found


def _shrink(one: Guard, seen: AdapterSeen, most: float) -> Verdict | None:
    """What a guard says of the adapter at the scale `most` or, where it is against that, at the largest smaller one that it accepts."""
    said: dict[float, Verdict | None] = {}

    def passes(scale: float) -> bool:
        said[scale] = verdict = _judged(one, seen, scale)
        return verdict is None or not verdict.against

    if passes(most):
        return said[most]
    refused, best = said[most], largest(passes, most)
    assert refused is not None  # it is against the adapter
    if best is None:
        return replace(refused, reason=f"{refused.reason}; scaled to {LEAST:g} it is rejected too")
    accepted = said[best]
    now = accepted.reason if accepted else "nothing is left to object to"
    return replace(refused, decision="shrink", scale=best, reason=f"scaled to {best:.2f}: {now}; before that: {refused.reason}")


def largest(passes: Callable[[float], bool], most: float) -> float | None:
    """The largest scale below `most` that is found to pass, from `LEAST` on; None where not even that passes. `most` does not."""
    if most <= LEAST or not passes(LEAST):
        return None
    low, high = LEAST, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


def _judged(one: Guard, seen: AdapterSeen, scale: float) -> Verdict | None:
    """What a guard says of the adapter at a scale."""
    if scale == 1.0:
        return next(iter(judge([one], "adapter", seen)), None)
    smaller = seen.policy.engine.scaled(seen.adapter, scale)
    try:
        return next(iter(judge([one], "adapter", replace(seen, adapter=smaller))), None)
    finally:
        seen.policy.engine.drop(smaller)
