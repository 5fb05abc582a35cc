"""The bundled probes, how they are asked, judged and compared.

1. There are 256, 32 of each of 8 kinds, with ids of their own; each right answer is judged right, and no user's turn is empty.
2. `contains` looks for whole words, `exact` forgives quotes, case and a full stop, `regex` has to fit the whole answer, a `choice` has to be likelier
   a token than every other one, a text that has no finite likelihood has no value.
3. All probes are two calls of the engine. Conversations are put in the chat template, or as plain text where there is none, and all to one adapter or
   each as a function says.
4. What the current weights said is kept and not asked twice; what an adapter said is not kept. Of the fake engine nothing is.
5. A comparison is paired, by kind and overall without texts; probes that lost their value are counted and left out.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfedit.config import parse_recipe
from selfedit.engine.fake import Fake
from selfedit.policy import Policy
from selfedit.retention import Change, Probe, Probed, Put, ask_probes, cache_of, compared, probes
from selfedit.retention.probes import JUDGED, KINDS, judged, put, right, some
from selfedit.types import Adapter, Completion, Datum, Progress, SampleRequest, Score, ScoreRequest, TrainJob


class Watched(Fake):
    """Keeps what it is asked, and answers `says`."""

    def __init__(self, says: str = "Paris.", chat: bool = True) -> None:
        super().__init__(chat=chat)
        self.says, self.sampled, self.scored = says, list[list[SampleRequest]](), list[list[ScoreRequest]]()

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        self.sampled.append(list(requests))
        return [Completion(self.says, (9,), (-1.0,), "stop") for _ in requests]

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        self.scored.append(list(requests))
        return super().score(requests, progress)


def policy(engine: Fake | None = None, **recipe: Any) -> Policy:
    return Policy(engine or Watched(), parse_recipe({"engine": {"type": "fake"}, **recipe}, source="test"))


def probe(match: Any, *answers: str, choices: Sequence[str] = (), said: tuple[str, ...] = ("Which?",), kind: Any = "format") -> Probe:
    return Probe("p", kind, match, said, answers, tuple(choices))


def named(id: str) -> Probe:
    return next(one for one in probes() if one.id == id)


# ---------------------------------------------------------------- promise 1


def test_the_bundled_probes() -> None:
    assert len({one.id for one in probes()}) == len(probes()) == 256
    assert Counter(one.kind for one in probes()) == dict.fromkeys(KINDS, 32)
    assert all(len(one.said) % 2 == (one.kind != "text") and all(text.strip() for text in one.said) for one in probes())
    assert {one.match for one in probes() if one.kind == "text"} == {"likelihood"}


def test_right_answers_are_right() -> None:
    for one in probes():
        if one.match in ("contains", "exact"):
            assert all(right(one, f"“{answer}.”") for answer in one.answers), one
        elif one.match == "regex":
            assert len(one.answers) == 1 and re.compile(one.answers[0], re.DOTALL)
        else:
            assert len(one.answers) == 1 and one.scored[0] == one.answers[0] not in one.choices


def test_some_of_them() -> None:
    first = some(limit=len(JUDGED))
    assert [one.kind for one in first] == list(JUDGED)
    assert len(some(("text", "turns"))) == 64 and len(some()) == 224


# ---------------------------------------------------------------- promise 2


@pytest.mark.parametrize(
    ("one", "said", "expected"),
    [
        (probe("contains", "New York"), "It is NEW\n york!", True),
        (probe("contains", "cat", "kitten"), "A catalogue.", False),
        (probe("contains", "5"), "It is 15.", False),
        (probe("contains", "5"), "2 + 3 = 5.", True),
        (probe("contains", "O2"), "(O2)", True),
        (probe("exact", "green"), ' "Green." \n', True),
        (probe("exact", "The dog sleeps"), "The dog  sleeps.", True),
        (probe("exact", "green"), "Grass is green.", False),
        (probe("regex", "1 2 3[.]?"), "1 2 3.", True),
        (probe("regex", "Dear.+"), "Dear Anna,\nhello", True),
        (probe("regex", "dear.+"), "Dear Anna", False),
        (probe("regex", "No"), "No.", False),
    ],
)
def test_written_answers(one: Probe, said: str, expected: bool) -> None:
    assert judged(one, said, ()).value == float(expected)
    assert judged(one, said, ()).said == said


@pytest.mark.parametrize(
    ("scores", "value", "said"),
    [((-1.0, -2.0, -3.0), 1.0, "a"), ((-1.0, -1.0, -3.0), 0.0, "a"), ((-2.0, -1.0, -3.0), 0.0, "b"), ((math.nan, -1.0, -3.0), 0.0, "b")],
)
def test_choices(scores: tuple[float, ...], value: float, said: str) -> None:
    assert judged(probe("choice", "a", choices=("b", "c")), "", scores) == Probed("p", "format", said, value)


def test_texts() -> None:
    text = probe("likelihood", "Good prose.", said=(), kind="text")
    assert judged(text, "", (-2.5,)).value == -2.5
    assert judged(text, "", (math.nan,)).value is None and judged(text, "", (-math.inf,)).value is None


# ---------------------------------------------------------------- promise 3


def test_two_calls_for_all() -> None:
    engine = Watched()
    found = ask_probes(policy(engine))
    assert [one.id for one in found] == [one.id for one in probes()]
    assert len(engine.sampled) == len(engine.scored) == 1
    assert {r.sampling.max_tokens for r in engine.sampled[0]} == {32} and {r.sampling.temperature for r in engine.sampled[0]} == {0}
    assert len(engine.sampled[0]) + len({r.prompt for r in engine.scored[0]}) >= 224
    assert next(one for one in found if one.id == "knowledge-01").value == 1.0
    assert all(one.value is not None and one.value < 0 for one in found if one.kind == "text")


def test_conversations_in_the_chat_template() -> None:
    engine, one = Watched(), named("turns-06")
    ask_probes(policy(engine), chosen=[one])
    [[request]] = engine.sampled
    assert request.prompt == engine.tokenizer.chat(one.said[4], [(one.said[0], one.said[1]), (one.said[2], one.said[3])])
    assert request.sampling.stop == ()


def test_conversations_as_plain_text() -> None:
    engine = Watched(chat=False)
    ask_probes(policy(engine), chosen=[named("turns-01"), named("knowledge-03")])
    [[request]], [scored] = engine.sampled, engine.scored
    text = "User: Hello, my name is Clara.\nAssistant: Hello! It is nice to meet you. How can I help?\nUser: What is my name?\nAssistant:"
    assert engine.tokenizer.decode(request.prompt) == text and request.sampling.stop == ("\nUser:",)
    assert [engine.tokenizer.decode(r.completion) for r in scored] == [f" {answer}" for answer in named("knowledge-03").scored]


def test_texts_after_the_token_that_begins_one() -> None:
    engine, one = Watched(), named("text-01")
    ask_probes(policy(engine), chosen=[one])
    [[request]] = engine.scored
    assert request.prompt + request.completion == engine.tokenizer.encode(one.answers[0]) and len(request.prompt) == 1


def trained(engine: Fake) -> Adapter:
    text = engine.tokenizer.encode("Title\nThe mill was built in 1802.")
    [found] = Fake.train(engine, [TrainJob((Datum(text, (1.0,) * len(text)),))])
    assert found.adapter
    return found.adapter


def test_to_an_adapter_or_as_a_function_says() -> None:
    engine = Watched()
    adapter, two = trained(engine), [named("knowledge-01"), named("arithmetic-01")]
    ask_probes(policy(engine), adapter, chosen=two)
    assert [r.adapter for r in engine.sampled.pop()] == [adapter, adapter]

    def to(one: Probe) -> Put:
        return put(engine.tokenizer, one, adapter if one.kind == "knowledge" else None, f"Topic: Mills\n{one.question}")

    ask_probes(policy(engine), to, chosen=two)
    [requests] = engine.sampled
    assert [r.adapter for r in requests] == [adapter, None]
    assert engine.tokenizer.decode(requests[1].prompt) == "Topic: Mills\nWhat is 2 + 3?"


# ---------------------------------------------------------------- promise 4


def test_what_the_current_weights_said_is_kept(tmp_path: Path) -> None:
    engine, file = Watched(), tmp_path / "here" / "kept.json"
    before = ask_probes(policy(engine), cache_file=file)
    assert ask_probes(policy(engine), cache_file=file) == before and len(engine.sampled) == len(engine.scored) == 1
    engine.says = "London."
    after = ask_probes(policy(engine), trained(engine), cache_file=file)
    assert next(one for one in after if one.id == "knowledge-01").value == 0.0
    assert ask_probes(policy(engine), cache_file=file) == before


def test_whose_answers_can_be_kept() -> None:
    assert cache_of(policy()) is None


# ---------------------------------------------------------------- promise 5


def results(kind: Any, *values: float | None) -> list[Probed]:
    return [Probed(f"{kind}-{n}", kind, "", value) for n, value in enumerate(values)]


def test_a_comparison() -> None:
    before = results("format", *[1.0] * 20, *[0.0] * 10) + results("text", -2.0, -3.0, -4.0)
    after = results("format", *[1.0] * 10, *[0.0] * 20) + results("text", -2.5, -3.5, None)
    found = compared(before, after)
    assert list(found) == ["format", "text", "overall"]
    change = found["format"]
    assert isinstance(change, Change) and change.before == pytest.approx(2 / 3) and change.after == pytest.approx(1 / 3)
    assert change.change.mean == pytest.approx(-1 / 3) and change.change.low < -1 / 3 < change.change.high < 0
    assert found["text"].change.mean == pytest.approx(-0.5) and (found["text"].n, found["text"].lost) == (2, 1)
    assert found["overall"].n == 30
    with pytest.raises(ValueError, match="other probes"):
        compared(results("format", 1.0), results("text", 1.0))
