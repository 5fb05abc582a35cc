"""`selfedit validate`: what the untrained model can do, and the model with what it has learned, gate and all.

Each probe goes to whoever would answer it in use: by the last thing that the user says, the gate chooses an adapter, or lets the model answer as it
came. What it does not let in is the same by construction, and is not asked twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfedit.library import Route, request, routes
from selfedit.library.opening import InForce
from selfedit.retention import Change, Probe, Probed, Put, ask_probes, cache_of, compared
from selfedit.retention.probes import put
from selfedit.types import Watch


@dataclass(frozen=True, slots=True)
class Validated:
    """What came of the same probes before and after learning. `let_in` are the ids of those that an adapter answered afterwards."""

    model: str
    documents: int
    let_in: tuple[str, ...]
    before: tuple[Probed, ...]
    after: tuple[Probed, ...]

    @property
    def changes(self) -> Mapping[str, Change]:
        """By kind, and `overall`."""
        return compared(self.before, self.after)


def puts(found: InForce, probes: Sequence[Probe]) -> list[Put]:
    """Each probe as it is put to whoever answers. An adapter is asked in the form that it learned, about its document."""
    chosen = routes(found.adapters, [one.question for one in probes])
    return [_put(found, one, route) for one, route in zip(probes, chosen, strict=True)]


def _put(found: InForce, one: Probe, route: Route) -> Put:
    policy, adapters, tokenizer = found.policy, found.adapters, found.policy.engine.tokenizer
    if route.found is None:
        return put(tokenizer, one)
    if not one.said:
        return put(tokenizer, one, adapters.load(route.found.entry))
    if one.before:
        return put(tokenizer, one, adapters.load(route.found.entry), policy.domain.question(route.found.document.title, one.question))
    question = request(policy, adapters, route, one.question, 1)
    return Put(question.prompt, question.adapter, tokenizer.has_chat_template and not adapters.plain(route.found.entry), question.sampling.stop)


def validate(found: InForce, probes: Sequence[Probe], watch: Watch) -> Validated:
    """Ask probes before and after."""
    policy = found.policy
    with watch.stage("Asking the untrained model") as progress:
        before = ask_probes(policy, progress=progress, chosen=probes, cache_file=cache_of(policy))
    with watch.stage("Asking what was learned") as progress:
        how = {one.id: each for one, each in zip(probes, puts(found, probes), strict=True)}
        inside = [one for one in probes if how[one.id].adapter]
        answers = {one.id: one for one in ask_probes(policy, lambda one: how[one.id], progress, inside)}
    after = [answers.get(one.id, one) for one in before]
    return Validated(policy.recipe.model, found.documents, tuple(answers), tuple(before), tuple(after))
