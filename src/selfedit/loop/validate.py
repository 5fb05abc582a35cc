"""`selfedit validate`: what a model can do as it came, and with what it has learned, gate and all.

Each probe goes to whoever would answer it in use: by the last thing that the user says, the gate chooses an adapter, or lets the model answer as it
came. What it does not let in is the same by construction, and is not asked twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selfedit.config import parse_recipe
from selfedit.library import Adapters, Library, Route, request, routes
from selfedit.library.ask import require_model
from selfedit.library.force import of_run
from selfedit.loop.run import Watch
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy
from selfedit.policy.opening import title as opened
from selfedit.retention import Change, Probe, Probed, Put, ask_probes, cache_of, compared
from selfedit.retention.probes import put


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


class InForce:
    """A model with a library, as it answers: each question goes to the adapter that the gate chooses, or to the model as it came."""

    def __init__(self, policy: Policy, adapters: Adapters) -> None:
        self.policy, self.adapters = policy, adapters

    @property
    def documents(self) -> int:
        """How many documents it has learned."""
        return self.adapters.library.size()

    def put(self, probes: Sequence[Probe]) -> list[Put]:
        """Each probe as it is put to whoever answers. An adapter is asked in the form that it learned, about its document."""
        found = routes(self.policy, self.adapters, [one.question for one in probes])
        return [self._put(one, route) for one, route in zip(probes, found, strict=True)]

    def _put(self, one: Probe, route: Route) -> Put:
        tokenizer = self.policy.engine.tokenizer
        if route.found is None:
            return put(tokenizer, one)
        if not one.said:
            return put(tokenizer, one, self.adapters.load(route.found.entry))
        if one.before:
            title = route.found.document.title
            return put(tokenizer, one, self.adapters.load(route.found.entry), self.policy.domain.question(title, one.question))
        asked = request(self.policy, self.adapters, route, one.question, 1)
        stop = asked.sampling.stop
        return Put(asked.prompt, asked.adapter, tokenizer.has_chat_template and not stop, stop)


@contextmanager
def opened_library(library: Library, watch: Watch) -> Iterator[InForce]:
    """The model of a library with its adapters. Raises SelfeditError where one cannot be opened, or the model is no longer the same."""
    newest = library.newest()
    recipe = parse_recipe(newest.recipe, source=f"recipe of run {newest.run}")
    with watch.stage(opened(recipe)):
        policy = open_policy(recipe, say=watch.say)
        require_model(newest, recipe)
    with Adapters(policy.engine, library) as adapters:
        yield InForce(policy, adapters)


@contextmanager
def library_of(run: Path) -> Iterator[Library]:
    """The library that a run of `learn` made, whatever is in force. A run of version 0.1.0 has none of its own: it gets one for the time being."""
    entries = of_run(run)
    if Library(run).exists():
        yield Library(run)
        return
    with tempfile.TemporaryDirectory(prefix="selfedit-library-") as scratch:
        library = Library(Path(scratch))
        library.add(entries, note=run.name)
        yield library


def validate(found: InForce, probes: Sequence[Probe], watch: Watch) -> Validated:
    """Ask probes before and after."""
    policy = found.policy
    with watch.stage("Asking the model as it came") as progress:
        before = ask_probes(policy, progress=progress, chosen=probes, cache_file=cache_of(policy))
    with watch.stage("Asking what was learned") as progress:
        how = {one.id: each for one, each in zip(probes, found.put(probes), strict=True)}
        inside = [one for one in probes if how[one.id].adapter]
        answers = {one.id: one for one in ask_probes(policy, lambda one: how[one.id], progress, inside)}
    after = [answers.get(one.id, one) for one in before]
    return Validated(policy.recipe.model, found.documents, tuple(answers), tuple(before), tuple(after))
