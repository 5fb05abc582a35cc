"""Did it learn at all? An adapter that answers fewer questions rightly than the model without it is never put in force.

It goes by the reward questions, which chose between self-edits: report questions choose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.guards.base import AdapterSeen, accept, guard, reject
from selfedit.parts import Settings
from selfedit.types import Answer, Verdict


@guard("worse", means="an adapter that answers fewer reward questions rightly than the model without it is rejected")
def _worse(seen: AdapterSeen, settings: Settings) -> Verdict | None:
    return worse(seen.before, seen.after)


def worse(before: Sequence[Answer], after: Sequence[Answer]) -> Verdict | None:
    """Rejects where fewer answers are right after than before; both answer the same questions. None where no right answer is known."""
    pairs = [(b.correct, a.correct) for b, a in zip(before, after, strict=True) if b.correct is not None and a.correct is not None]
    if not pairs:
        return None
    then, now = sum(b for b, _ in pairs), sum(a for _, a in pairs)
    reason = f"{now} of {len(pairs)} reward questions are answered rightly with the adapter, {then} without it"
    return reject(reason) if now < then else accept(reason)
