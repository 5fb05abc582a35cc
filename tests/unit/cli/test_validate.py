"""`selfedit validate`.

1. The table has every kind and all together; only what the gate lets in is asked twice, and of the rest both answers are the same.
2. `--json` has the figures and every probe; bounds that are not finite are null.
3. A run is asked whatever is in force. With nothing learned, with tasks of no harness, or without the harness, it says what to do.
4. An adapter is asked about its document: one turn as `ask` asks it, several turns with the turns before them, a text as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest
from tests.unit.cli.house import House

from selfedit.engine.fake import Fake
from selfedit.library import Adapters, Found, Library, Route
from selfedit.library.opening import InForce, opened
from selfedit.loop import validate as module
from selfedit.loop.validate import puts
from selfedit.retention import probes
from selfedit.system.console import Show
from selfedit.types import Completion, Progress, SampleRequest


def test_only_what_is_let_in_is_asked_twice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promises 1, 2
    house.learn()
    asked: list[Sequence[SampleRequest]] = []
    sample = Fake.sample

    def watched(self: Fake, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        asked.append(requests)
        return sample(self, requests, progress)

    monkeypatch.setattr(Fake, "sample", watched)
    found = json.loads(house.fine("validate", "--json", "--quiet"))
    inside = set(found["let_in"])
    assert found["documents"] == 3 and len(found["probes"]) == 256 and len(asked[0]) == 159
    assert all(r.adapter for r in asked[1]) if len(asked) > 1 else not inside
    assert all(one["before"] == one["after"] for one in found["probes"] if one["id"] not in inside)
    assert set(found["results"]) == {*(one.kind for one in probes()), "overall"} and found["results"]["overall"]["n"] == 224
    out = house.fine("validate", "--quiet")
    assert f"the gate let {len(inside)} of 256 probes in" in out or "let none of 256" in out
    assert "says so where it cannot know" in out and "overall" in out


def test_a_few_probes_of_a_run(house: House) -> None:  # promises 2, 3
    run = house.learn()["run"]
    house.fine("rollback")
    found = json.loads(house.fine("validate", run, "--limit", "8", "--json", "--quiet"))
    assert [one["kind"] for one in found["probes"]] == ["knowledge", "arithmetic", "format", "reading", "turns", "translation", "unknown", "text"]
    assert found["results"]["text"]["n"] == 1 and "Infinity" not in json.dumps(found)


def test_what_cannot_be_validated(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    assert "nothing is learned yet" in house.refused("validate", "--quiet")
    house.learn()
    assert "add --harness lm-eval" in house.refused("validate", "--tasks", "arc_easy", "--quiet")
    assert "--limit" in house.refused("validate", "--limit", "-1", "--quiet")
    for harness, needs, how in (("lm-eval", "lm_eval", "pip install 'selfedit[eval]'"), ("helm", "helm", "make validate-helm")):
        monkeypatch.setitem(sys.modules, needs, None)
        monkeypatch.delitem(sys.modules, f"selfedit.integrations.{needs}", raising=False)
        assert how in house.refused("validate", "--harness", harness, "--quiet")


def test_how_an_adapter_is_asked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    house.learn()
    library = Library(house.folder / "runs")
    [entry, *_] = library.entries()
    document = entry.documents[0]

    def lets_all_in(adapters: Adapters, questions: Sequence[str]) -> list[Route]:
        return [Route(Found(entry.id, document), 9.0) for _ in questions]

    monkeypatch.setattr(module, "routes", lets_all_in)
    with opened(library, Show(quiet=True)) as found:
        assert isinstance(found, InForce) and found.documents == 3
        chosen = [next(one for one in probes() if one.id == name) for name in ("knowledge-01", "turns-01", "text-01")]
        single, several, text = puts(found, chosen)
        tokenizer = found.policy.engine.tokenizer
        assert len({one.adapter for one in (single, several, text)}) == 1 and single.adapter is not None
        assert tokenizer.decode(single.prompt).startswith(f"Topic: {document.title}\nWhat is the capital of France?")
        asked = f"Topic: {document.title}\nWhat is my name?"
        assert several.prompt == tokenizer.chat(asked, [(chosen[1].said[0], chosen[1].said[1])]) and several.chat
        assert text.prompt == tokenizer.encode("") and not text.chat
