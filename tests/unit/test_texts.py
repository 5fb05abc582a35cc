"""A model that is asked by texts alone, as other harnesses ask it; none of them is needed here.

1. Every probe in that form puts to the engine what the guard puts to it, and has the same value, item by item: in the chat template and as plain
   text, of the untrained model, of an adapter, and of a library whose gate lets some in.
2. The two models of a comparison share what they know, and have each a digest of their own: that of the model, and of the version in force.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.house import House

from selfedit.config import parse_recipe
from selfedit.engine.fake import Fake
from selfedit.integrations.texts import TextModel, before_and_after, context_of
from selfedit.library import Library
from selfedit.library.opening import opened
from selfedit.policy import Policy
from selfedit.retention import Probed, Put, ask_probes, probes
from selfedit.retention.probes import LONGEST, judged, put
from selfedit.system.console import Show
from selfedit.types import Datum, Sampling, TrainJob


def by_texts(model: TextModel) -> list[Probed]:
    """The probes as HELM asks them: a text for each answer that is scored, or for one that is written."""
    found = []
    for one in probes():
        said = "" if one.scored else model.write([(context_of(one), Sampling(LONGEST))])[0].text.strip()
        scores = [score.mean for _, score in model.likelihoods([context_of(one) + text for text in one.scored])]
        found.append(judged(one, said, scores))
    return found


@pytest.mark.parametrize("chat", [True, False])
def test_every_probe_as_the_guard_asks_it(chat: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    one, seen = Policy(Fake(chat=chat), parse_recipe({"engine": {"type": "fake"}}, source="test")), list[Any]()
    tokens = one.engine.tokenizer.encode("What is the capital of France?\nParis")
    adapter = one.engine.train([TrainJob((Datum(tokens, (1.0,) * len(tokens)),))])[0].adapter

    def watched(ask: Callable[..., Any], requests: Sequence[Any], *more: Any) -> Any:
        seen.extend(requests)
        return ask(requests, *more)

    def gate(probe: Any) -> Put:
        return put(one.engine.tokenizer, probe, adapter if len(probe.question) % 2 else None)

    for verb in ("sample", "score"):
        monkeypatch.setattr(one.engine, verb, partial(watched, getattr(one.engine, verb)))
    for to in (None, partial(put, one.engine.tokenizer, adapter=adapter), gate):
        seen.clear()
        guard, asked = ask_probes(one, to), set(seen)
        model = TextModel(one, to and (lambda some, to=to: [to(probe) for probe in some]))
        assert by_texts(model) == guard and set(model.known) == asked


def test_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 2
    monkeypatch.chdir(tmp_path)
    house, names = House(tmp_path, capsys), []
    house.learn()
    library = Library(tmp_path / "runs")
    for _ in range(2):
        with opened(library, Show(quiet=True)) as found:
            before, after = before_and_after(found, TextModel)
            assert before.known is after.known
            names.append((before.digest, after.digest))
        house.fine("forget", library.documents()[0].id)
    (came, first), (again, second) = names
    assert came == again and len({came, first, second}) == 3
