"""A question to what was learned, and to the untrained model."""

from __future__ import annotations

from dataclasses import dataclass

from selfedit.library.answering import NOBODY, request, routes
from selfedit.library.database import Library
from selfedit.library.force import named
from selfedit.library.gate import Route
from selfedit.library.opening import opened
from selfedit.library.records import Found
from selfedit.types import Completion, Watch

SHORTEST = 64
"""Tokens that an answer may have at least."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Both answers to a question.

    `topic` is the title of the document whose adapter answered as `learned`, empty where that was the untrained model; `adapter` and `run` are where
    it came from. `sure` is how probable the gate takes its choice to be.
    """

    topic: str
    learned: str
    before: str
    run: str = ""
    adapter: str = ""
    sure: float = 1.0


def ask(library: Library, question: str, topic: str | None, watch: Watch, open_book: bool = False) -> Answers:
    """The greedy answers of the untrained model and of the adapter that is asked; with `open_book` both see the text of the document, else neither.

    `topic` names the document; without one the gate chooses. Raises DataError where no document has that name, and what `opened` raises.
    """
    chosen = about(library, topic) if topic is not None else None
    with opened(library, watch) as found, watch.stage("Answering") as progress:
        policy, adapters = found.policy, found.adapters
        [route] = [chosen] if chosen else routes(adapters, [question])
        most = max(SHORTEST, policy.recipe.questions.max_tokens)
        shown = route.found.document.context if route.found and open_book else ""
        put = [request(policy, adapters, who, question, most, shown) for who in ((NOBODY, route) if route.found else (route,))]
        answers = [_text(completion) for completion in policy.sample(put, progress)]
    if route.found is None:
        return Answers("", answers[0], answers[0], sure=route.sure)
    name = route.found.entry
    return Answers(route.found.document.title, answers[1], answers[0], library.entry(name).run, name, route.sure)


def about(library: Library, topic: str) -> Route:
    """The document of this title, and its adapter. Raises DataError where there is none, or several."""
    [document] = named(library, [topic])
    entry = next(entry for entry in library.entries() if document in entry.documents)
    return Route(Found(entry.id, document), None)


def _text(completion: Completion) -> str:
    return completion.text.strip() + (" …" if completion.finish_reason == "length" else "")
