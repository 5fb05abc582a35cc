"""Who is asked a question.

1. Candidates are the documents in force that share words with the question: the best first, titles counting double, other word forms found.
2. The surprise of a question about a document falls on words of that document, of an everyday one on others; a score never depends on its neighbours.
   What a document tells of a question is a difference of likelihoods, and of a long document the part that shares most words with it is read.
3. The gate lets in the best candidate above its threshold; calibrated, it lets in at most the share of everyday prompts that it may.
4. Whoever is not let in is answered by the untrained model, by the same request.
5. Calibrated again, no document is read twice; with a further document the gate is the one that is calibrated from nothing.
   A question that calibrated the gate is not read again to be answered.
6. Before new questions, adapters that were asked longest ago are dropped where there are too many; none while a guard asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from scipy.stats import binom

from selfedit.config import Recipe, parse_recipe
from selfedit.engine.base import Engine
from selfedit.library import Adapters, Document, Entry, Found, Gate, Library, Route, calibrate, gate_of, in_use, request, routes
from selfedit.library.gate import Features, calibrated, few_enough, log_odds, route, worth_reading
from selfedit.library.routing import WINDOW, candidates, features
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy
from selfedit.retention import everyday
from selfedit.store.artifacts import digest_of
from selfedit.types import Score, ScoreRequest

WEIR = Document("Tolmet Weir", "It was raised by Hedda Ruskin from grey slate, across the Isk Brook.")
LAMPS = Document("The Society of Lamplighters", "The society of the town opens the gate of Tolmet every spring.")
KEEPERS = Document("Weir keepers", "They keep geese. Nobody knows since when.")


@pytest.fixture
def policy() -> Policy:
    return open_policy(parse_recipe({"engine": {"type": "fake"}}))


@pytest.fixture
def library(tmp_path: Path, policy: Policy) -> Library:
    found = Library(tmp_path)
    found.add([made(policy, tmp_path, document) for document in (WEIR, LAMPS, KEEPERS)], note="run")
    return found


def made(policy: Policy, folder: Path, document: Document) -> Entry:
    [trained] = policy.train([policy.job([policy.domain.passage(_task(document))], 0)])
    assert trained.adapter is not None
    place = folder / "made" / document.id
    policy.engine.export(trained.adapter, place)
    return Entry(digest_of(place), place, (document,), "m", Recipe().model_dump(), "run")


def _task(document: Document):
    from selfedit.types import Task

    return Task(document.id, document.title, document.context)


def found(library: Library, question: str) -> list[str]:
    return [one.document.title for one in candidates(library, [question])[0]]


def test_candidates(library: Library) -> None:  # 1
    assert found(library, "How long is Tolmet Weir?") == ["Tolmet Weir", "Weir keepers", "The Society of Lamplighters"]
    assert found(library, "When does the lamplighter open gates?")[0] == LAMPS.title
    assert found(library, "What did Hedda Ruskin raise?")[0] == WEIR.title
    assert [one.rank for one in candidates(library, ["weir weir WEIR?"], most=2)[0]] == [0, 1]
    for nothing in ("xyzzy?", "What is it?", "", "??!'"):
        assert found(library, nothing) == []
    assert found(library, 'NEAR("Tolmet" OR) AND NOT *^:')[0] in (WEIR.title, LAMPS.title)  # nothing of a question is syntax
    library.forget([WEIR.id], "")
    assert found(library, "How long is Tolmet Weir?") == ["Weir keepers", "The Society of Lamplighters"]
    assert candidates(Library(library.root / "nowhere"), ["Weir?"]) == [[]]


def test_features(policy: Policy, library: Library) -> None:  # 2
    questions = ["What did Hedda Ruskin raise?", "Which animals do people keep in Portugal?", "xyzzy?"]
    about, other, none = features(policy.engine, library, questions, {})
    assert none == []
    weir = {f.document.title: x for f, x in about}["Tolmet Weir"]
    assert weir.held > 2 and weir.foreign == 0
    assert all(x.held < x.foreign and x.told == -math.inf for _, x in other)  # they were not read
    [alone] = features(policy.engine, library, questions[:1], {})
    assert alone == about
    known = {(questions[0], f.document.id): Features(1.0, 2.0, 3.0) for f, _ in about}
    assert [x for _, x in features(policy.engine, library, questions[:1], known)[0]] == [Features(1.0, 2.0, 3.0)] * len(about)


def test_told(policy: Policy, library: Library) -> None:  # 2
    long = Document(
        "Log of the weir", " ".join(f"Day {n}: water {n} inches." for n in range(200)) + " Then Ebba Horn drowned a goose." + " Rain." * 100
    )
    library.add([made(policy, library.root, long)], note="run")
    seen: list[ScoreRequest] = []
    question, tokenizer = "Who drowned a goose?", policy.engine.tokenizer

    class Watched:
        tokenizer = policy.engine.tokenizer

        def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
            seen.extend(requests)
            return [Score(tuple(-1.0 - n / len(request.prompt) for n, _ in enumerate(request.completion))) for request in requests]

    [found] = features(cast(Engine, Watched()), library, [question], {})
    [told] = [x.told for f, x in found if f.document == long]
    plain, read = seen[0], next(one for one in seen if "Ebba Horn" in tokenizer.decode(one.prompt))
    assert plain.prompt == tokenizer.encode("Question:") and plain.completion == read.completion
    text = tokenizer.decode(read.prompt)
    assert text.startswith("Log of the weir\n") and text.endswith("\n\nQuestion:") and len(text.split()) <= WINDOW + 5
    n = len(read.completion)
    assert told == pytest.approx((n - 1) / 2 * (1 / len(plain.prompt) - 1 / len(read.prompt)))


def test_gate() -> None:  # 3
    strong, weak, unread = Features(4.0, 0.0, 2.0), Features(0.5, 4.0, 0.1), Features(0.5, 4.0)
    one, two = Found("a", WEIR, 0), Found("b", LAMPS, 1)
    assert log_odds(strong) > 0 > log_odds(weak)
    chosen = route([(two, weak), (one, strong)], Gate())
    assert chosen.found == one and chosen.score == log_odds(strong) and chosen.sure > 0.5
    assert route([(two, weak)], Gate()) == Route(None, log_odds(weak)) and route([], Gate()) == route([(two, unread)], Gate()) == Route(None, None)
    assert worth_reading(strong) and not worth_reading(unread) and worth_reading(Features(3.0, 2.5)) and not worth_reading(Features(0.0, 0.0))
    assert route([(one, strong)], Gate(threshold=log_odds(strong))).found is None
    gate = calibrated([None] * 517 + [1.0, 2.0, 3.0], about=[2.5, 0.5, None, 4.0])
    assert gate == Gate(threshold=2.0, let_in=1 / 520, kept=0.5)
    for prompts in (1, 120, 298, 299, 473, 520, 1466, 5000):  # what scipy says of as many prompts
        allowed = few_enough(prompts)
        assert allowed == max((n for n in range(100) if binom.cdf(n, prompts, 0.01) <= 0.05), default=0)
    assert calibrated([-3.0, -2.0]).threshold == 0.0 and calibrated([]).let_in is None


def test_who_answers(policy: Policy, library: Library) -> None:  # 4
    prompts = [one.prompt for one in everyday("check")]
    with Adapters(policy.engine, library) as adapters:
        gate = calibrate(adapters, ["What did Hedda Ruskin raise?"])
        assert gate_of(library) == gate and gate.let_in is not None and gate.let_in <= 0.01
        found = routes(adapters, prompts)
        inside = sum(one.found is not None for one in found)
        assert inside <= 3  # of 120 that it was not calibrated on
        for prompt, who in zip(prompts, found, strict=True):
            put = request(policy, adapters, who, prompt, 32)
            assert (put.adapter is None) == (who.found is None)
            if who.found is None:
                assert put == request(policy, adapters, Route(None, None), prompt, 32)


def test_calibrated_again(policy: Policy, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:  # 5
    read: list[ScoreRequest] = []
    score, cue = policy.engine.score, policy.engine.tokenizer.encode("Question:")
    monkeypatch.setattr(policy.engine, "score", lambda requests: read.extend(one for one in requests if one.prompt != cue) or score(requests))

    def again() -> tuple[Gate, set[str]]:
        read.clear()
        with Adapters(policy.engine, library) as adapters:
            return calibrate(adapters), {policy.engine.tokenizer.decode(one.prompt).partition("\n")[0] for one in read}

    prompts = [one.prompt for one in everyday("gate")]
    library.add([made(policy, library.root, Document("Everything", " ".join(prompts[:60])))], note="run")
    first, documents = again()
    assert documents == {"Everything"} and again() == (first, set())
    library.add([made(policy, library.root, Document("More", " ".join(prompts[60:120])))], note="run")
    later, documents = again()
    assert documents == {"More"} and later != first
    library.set_gate(1, {}, {})
    assert again()[0] == later


def test_a_question_is_read_once(policy: Policy, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:  # 5
    question, calls = "What did Hedda Ruskin raise?", []
    score = policy.engine.score
    with Adapters(policy.engine, library) as adapters:
        calibrate(adapters, [question])
        monkeypatch.setattr(policy.engine, "score", lambda requests: calls.append(len(requests)) or score(requests))
        assert routes(adapters, [question])[0].found is not None and calls == []


def test_few_adapters_are_kept(policy: Policy, library: Library) -> None:  # 6
    names = library.names()
    with Adapters(policy.engine, library, most=1) as adapters:
        for name in names:
            adapters.load(name)
        in_use(policy, adapters, Gate())(names[0])(["Who raised Tolmet Weir?"])
        assert set(adapters.loaded) == set(names)
        routes(adapters, ["Who raised Tolmet Weir?"])
        assert len(adapters.loaded) == 1


def test_with_the_document_in_view(policy: Policy, library: Library) -> None:  # 4
    entry = next(entry for entry in library.entries() if entry.documents[0].title == WEIR.title)
    with Adapters(policy.engine, library) as adapters:
        for who in (Route(Found(entry.id, WEIR), None), Route(None, None)):
            closed, shown = (request(policy, adapters, who, "Who raised it?", 32, text) for text in ("", WEIR.context))
            assert closed.adapter == shown.adapter and (closed.adapter is None) == (who.found is None)
            seen = policy.engine.tokenizer.decode(shown.prompt)
            assert seen.index(WEIR.context) < seen.index("Who raised it?") and WEIR.context not in policy.engine.tokenizer.decode(closed.prompt)
