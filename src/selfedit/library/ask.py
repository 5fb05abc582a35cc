"""A question to what was learned, and to the model as it came."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selfedit.config import Recipe, parse_recipe
from selfedit.errors import LedgerError
from selfedit.library.answering import request, routes
from selfedit.library.database import Entry, Found, Library
from selfedit.library.force import of_run
from selfedit.library.gate import Route
from selfedit.library.routing import Adapters
from selfedit.policy.opening import open_policy
from selfedit.policy.opening import title as opened
from selfedit.store.identity import model_now
from selfedit.types import Completion

if TYPE_CHECKING:
    from selfedit.loop.run import Watch

SHORTEST = 64
"""Tokens that an answer may have at least."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Both answers to a question.

    `topic` is the title of the document whose adapter answered as `learned`, empty where that was the model as it came; `adapter` and `run` are where
    it came from. `sure` is how probable the gate takes its choice to be.
    """

    topic: str
    learned: str
    before: str
    run: str = ""
    adapter: str = ""
    sure: float = 1.0


def ask_run(run: Path, question: str, topic: str | None, watch: Watch) -> Answers:
    """Ask the adapters that a run made, whatever is in force."""
    entries = of_run(run)
    if Library(run).exists():
        return ask(Library(run), question, topic, watch)
    with tempfile.TemporaryDirectory() as scratch:  # a run of version 0.1.0 has no library of its own
        library = Library(Path(scratch))
        library.add(entries, note=run.name)
        return ask(library, question, topic, watch)


def ask(library: Library, question: str, topic: str | None, watch: Watch) -> Answers:
    """Greedy answers, without the documents. `topic` is the title that is asked about; without one the gate chooses.

    Raises SelfeditError where model or adapter cannot be opened, LedgerError where the model is no longer the one that was learned with.
    """
    newest = library.newest()
    recipe = parse_recipe(newest.recipe, source=f"recipe of run {newest.run}")
    with watch.stage(opened(recipe)):
        policy = open_policy(recipe, say=watch.say)
        require_model(newest, recipe)
    most = max(SHORTEST, recipe.questions.max_tokens)
    with Adapters(policy.engine, library) as adapters, watch.stage("Answering") as progress:
        [route] = routes(policy, adapters, [question]) if topic is None else [about(library, topic)]
        before = request(policy, adapters, Route(None, None), question, most)
        put = [before, request(policy, adapters, route, question, most)] if route.found else [before]
        answers = [_text(completion) for completion in policy.sample(put, progress)]
    found = route.found
    run = library.run_of(found.entry) if found else ""
    return Answers(found.document.title if found else "", answers[-1], answers[0], run, found.entry if found else "", route.sure)


def about(library: Library, topic: str) -> Route:
    """The document with this title, or the newest one, asked under the title as it is given."""
    documents = [(one, entry) for entry in library.entries() for one in entry.documents]
    wanted = topic.casefold().strip()
    fitting = [pair for pair in documents if pair[0].title.casefold() == wanted] or documents
    document, entry = fitting[-1]
    named = document if document.title.casefold() == wanted else type(document)(topic, document.context)
    return Route(Found(0, entry.id, named), None)


def require_model(entry: Entry, recipe: Recipe) -> None:
    """Raises LedgerError where the model is another than the adapter was made with."""
    if entry.model != model_now(recipe):
        raise LedgerError(f"{recipe.model} is no longer the model that run {entry.run} learned with; restore it, or learn anew")


def _text(completion: Completion) -> str:
    return completion.text.strip() + (" …" if completion.finish_reason == "length" else "")
