"""Questions to a library: who answers them, and how they are put."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from selfedit.library.database import Found, Library
from selfedit.library.gate import Gate, Route, calibrated, route
from selfedit.library.routing import Adapters, Features, features
from selfedit.policy.render import Renderer
from selfedit.retention import everyday
from selfedit.types import SampleRequest, Sampling

if TYPE_CHECKING:
    from selfedit.policy import Policy

ROOM = 32
"""Questions whose candidates are scored in one call: their adapters are in memory together."""


def gate_of(library: Library, number: int | None = None) -> Gate:
    """The gate of the version in force, or of another one."""
    version = library.version(number)
    return Gate(**version.gate) if version and version.gate else Gate()


def calibrate(policy: Policy, adapters: Adapters, about: Sequence[str] = ()) -> Gate:
    """The gate for a library as it is now, given questions `about` its documents that no adapter was trained on; it is kept with the version."""
    prompts = [one.prompt for one in everyday("gate")]
    scores = [route(found, Gate()).score for found in _features(policy, adapters, [*prompts, *about])]
    gate = calibrated(scores[: len(prompts)], scores[len(prompts) :])
    adapters.library.set_gate(asdict(gate))
    return gate


def routes(policy: Policy, adapters: Adapters, questions: Sequence[str], gate: Gate | None = None) -> list[Route]:
    """Who answers each question: an adapter, or the model as it came."""
    chosen = gate or gate_of(adapters.library)
    return [route(found, chosen) for found in _features(policy, adapters, questions)]


def _features(policy: Policy, adapters: Adapters, questions: Sequence[str]) -> Iterator[list[tuple[Found, Features]]]:
    for i in range(0, len(questions), ROOM):
        yield from features(policy.engine, adapters.library, questions[i : i + ROOM], adapters)
        adapters.trim()


def request(policy: Policy, adapters: Adapters, chosen: Route, question: str, max_tokens: int) -> SampleRequest:
    """A question as it is put to whoever answers: to an adapter in the form that it learned, with the title of the document; to the model as it came
    as a user's turn, or as plain text where it has no chat template. Greedy."""
    found = chosen.found
    if found is None:
        render = Renderer(policy.engine.tokenizer)
        return SampleRequest(render.ask(question), Sampling(max_tokens, stop=render.answer_stop))
    plain = adapters.library.recipe(found.entry).get("inner", {}).get("format") == "plain"
    render = Renderer(policy.engine.tokenizer, plain=plain)
    prompt = render.ask(policy.domain.question(found.document.title, question))
    return SampleRequest(prompt, Sampling(max_tokens, stop=render.answer_stop), adapters.load(found.entry))
