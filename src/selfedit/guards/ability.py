"""Can the model still do what has nothing to do with the documents? It is asked the bundled probes with the adapter and without.

An adapter of a library is asked only what the gate lets in, so that a loss here is what a question pays that was let in by mistake. The limit is wide
for that reason; `selfedit validate` measures what the whole library answers, gate and all.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, field_validator

from selfedit.guards.base import AdapterSeen, Guard, ShrinkSettings, accept, guard, reject
from selfedit.retention.probes import JUDGED, OVERALL, Probed, ask_probes, cache_of, compared, some
from selfedit.types import Verdict


class AbilitySettings(ShrinkSettings):
    """Settings of `ability`."""

    max_points: float = Field(10.0, gt=0)
    """Largest loss, in percentage points of probes answered rightly; an adapter is rejected if all of the 95 % interval is beyond it."""
    kinds: tuple[str, ...] = JUDGED
    """Kinds of probes that are asked."""
    limit: int = Field(0, ge=0)
    """Only so many probes, by turns of each kind; 0 for all 32 of each. Few probes can show large losses only."""

    @field_validator("kinds")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or set(names) - set(JUDGED):
            raise ValueError(f"there are {', '.join(JUDGED)}")
        return names


@guard("ability", means="an adapter under which the model answers far fewer of the bundled probes rightly is rejected", settings=AbilitySettings)
class Ability(Guard):
    """What the untrained model answers is kept on the disk."""

    def verdict(self, seen: AdapterSeen) -> Verdict:
        """The paired difference over the probes, against the limit."""
        chosen = some(self.settings.kinds, self.settings.limit)
        before = ask_probes(seen.policy, chosen=chosen, cache_file=cache_of(seen.policy))
        return ability(before, ask_probes(seen.policy, seen.adapter, chosen=chosen), self.settings.max_points)


def ability(before: Sequence[Probed], after: Sequence[Probed], limit: float) -> Verdict:
    """Rejects where more than `limit` points are lost by the whole of the interval; results are paired."""
    found = compared(before, after)[OVERALL]
    low, mean, high = (100 * points for points in (found.change.low, found.change.mean, found.change.high))
    reason = (
        f"{found.after:.0%} of {found.n} probes are answered rightly with the adapter, {found.before:.0%} without it: {mean:+.1f} points "
        f"({low:+.1f} to {high:+.1f}), -{limit:g} are allowed (recipe: guard.ability.max_points)"
    )
    return reject(reason) if high < -limit else accept(reason)
