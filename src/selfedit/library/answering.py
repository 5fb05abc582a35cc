"""Questions to a library: who answers them, and how they are put."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING

from selfedit.library.adapters import Adapters
from selfedit.library.database import Library
from selfedit.library.gate import Features, Gate, Route, calibrated, route
from selfedit.library.records import Found
from selfedit.library.routing import features
from selfedit.policy.render import Renderer
from selfedit.retention.everyday import LONGEST, calibration
from selfedit.types import SampleRequest, Sampling

if TYPE_CHECKING:
    from selfedit.policy import Policy

ROOM = 512
"""Questions whose candidates are read in one call."""
NOBODY = Route(None, None)
"""The untrained model answers."""


def gate_of(library: Library) -> Gate:
    """The gate of the version in force."""
    version = library.version()
    return Gate(**version.gate) if version and version.gate else Gate()


def calibrate(adapters: Adapters, about: Sequence[str] = ()) -> Gate:
    """The gate for a library as it is now, given questions `about` its documents that no adapter was trained on; it is kept with the version.

    What a document has to do with an everyday prompt is found out once: after a further document, only new candidates are looked at.
    """
    library, prompts = adapters.library, calibration()
    version = library.version()
    adapters.seen |= library.features()
    found = list(_features(adapters, [*prompts, *about]))
    scores = [route(some, Gate()).score for some in found]
    gate = calibrated(scores[: len(prompts)], scores[len(prompts) :])
    kept = {(prompt, one.document.id): speaks for prompt, some in zip(prompts, found, strict=False) for one, speaks in some}
    library.set_gate(version.number if version else 0, asdict(gate), kept)
    return gate


def routes(adapters: Adapters, questions: Sequence[str], gate: Gate | None = None) -> list[Route]:
    """Who answers each question: an adapter, or the untrained model. Of the adapters of earlier questions those are dropped that are too many."""
    adapters.trim()
    return _routes(adapters, questions, gate)


def _routes(adapters: Adapters, questions: Sequence[str], gate: Gate | None) -> list[Route]:
    chosen = gate or gate_of(adapters.library)
    return [route(found, chosen) for found in _features(adapters, questions)]


def _features(adapters: Adapters, questions: Sequence[str]) -> Iterator[list[tuple[Found, Features]]]:
    for i in range(0, len(questions), ROOM):
        yield from features(adapters.engine, adapters.library, questions[i : i + ROOM], adapters.seen)


Pair = tuple[SampleRequest, SampleRequest]
"""A question as it is put to the untrained model and, beside it, to whoever answers."""


def in_use(policy: Policy, adapters: Adapters, gate: Gate | None = None) -> Callable[[str], Callable[[Sequence[str]], list[Pair]]]:
    """By the name of an adapter, how questions are put before and after it is in force behind the gate: answers of at most `LONGEST` tokens.

    What the gate lets in to another adapter is not put to this one. Who answers is worked out once for all adapters.
    """

    @cache
    def chosen(questions: tuple[str, ...]) -> list[Route]:
        return _routes(adapters, questions, gate)  # a guard may hold adapters meanwhile: none is dropped

    def of(entry: str) -> Callable[[Sequence[str]], list[Pair]]:
        def pairs(questions: Sequence[str]) -> list[Pair]:
            found = [one if one.found and one.found.entry == entry else NOBODY for one in chosen(tuple(questions))]
            put = [
                [request(policy, adapters, who, question, LONGEST) for who in (NOBODY, one)] for question, one in zip(questions, found, strict=True)
            ]
            return [(before, after) for before, after in put]

        return pairs

    return of


def request(policy: Policy, adapters: Adapters, chosen: Route, question: str, max_tokens: int, shown: str = "") -> SampleRequest:
    """A question as it is put to whoever answers, greedily, after a text that is `shown`.

    An adapter is asked in the form that it learned, with the title of the document; the untrained model in a user's turn, or in plain text where it
    has no chat template.
    """
    found = chosen.found
    if found is None:
        render = Renderer(policy.engine.tokenizer)
        return SampleRequest(render.ask(f"{shown}\n\n{question}" if shown else question), Sampling(max_tokens, stop=render.answer_stop))
    render = Renderer(policy.engine.tokenizer, plain=adapters.plain(found.entry))
    prompt = render.ask(policy.wording(found.document.title, question, shown))
    return SampleRequest(prompt, Sampling(max_tokens, stop=render.answer_stop), adapters.load(found.entry))
