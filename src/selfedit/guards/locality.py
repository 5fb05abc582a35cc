"""Do answers to everyday prompts stay as they were? In the measures of knowledge editing: locality (EasyEdit, arXiv 2308.07269).

What a library answers is asked through its gate: a prompt that the gate does not let in gets the answer that it always got.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from selfedit.guards.base import AdapterSeen, Guard, InUse, accept, guard, reject
from selfedit.parts import Settings
from selfedit.retention.everyday import LONGEST, everyday
from selfedit.types import SampleRequest, Sampling, Verdict


class LocalitySettings(Settings):
    """Settings of `locality`."""

    min_same: float = Field(0.95, gt=0, le=1)
    """Smallest share of everyday prompts whose greedy answer is the same, word for word."""
    prompts: int = Field(120, ge=1, le=120)
    """Everyday prompts that are asked."""


@guard("locality", means="an adapter that changes the answers to too many everyday prompts, behind its gate, is rejected", settings=LocalitySettings)
class Locality(Guard):
    """Only prompts that are put in another way than before are asked at all."""

    def verdict(self, seen: AdapterSeen) -> Verdict:
        """The share of equal answers against the limit."""
        prompts = [one.prompt for one in everyday("check")[: self.settings.prompts]]
        pairs = (seen.in_use or directly(seen))(prompts)
        other = [pair for pair in pairs if pair[0] != pair[1]]
        texts = [one.text for one in seen.policy.sample([request for pair in other for request in pair])] if other else []
        changed = sum(before != after for before, after in zip(texts[::2], texts[1::2], strict=True))
        return locality(len(pairs), len(other), changed, self.settings.min_same)


def directly(seen: AdapterSeen) -> InUse:
    """Every prompt is put to the adapter itself."""
    render = seen.policy.render

    def pairs(prompts: Sequence[str]) -> list[tuple[SampleRequest, SampleRequest]]:
        asked = [SampleRequest(render.ask(one), Sampling(LONGEST, stop=render.answer_stop)) for one in prompts]
        return [(one, replace(one, adapter=seen.adapter)) for one in asked]

    return pairs


def locality(prompts: int, reached: int, changed: int, limit: float) -> Verdict:
    """Rejects where fewer than `limit` of the prompts are answered as before; `reached` of them were put to the adapter."""
    same = 1 - changed / prompts
    reason = (
        f"{same:.1%} of {prompts} everyday prompts are answered as before, word for word; {reached} reached the adapter; "
        f"{limit:.0%} are wanted (recipe: guard.locality.min_same)"
    )
    return accept(reason) if same >= limit else reject(reason)
