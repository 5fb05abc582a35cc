"""Tokens written with shapes that stay the same (`engine.graphs`).

1. They are the plain way's, with the same log-probabilities: greedy or drawn, with limits and penalties, under adapters and without, while rows come,
   end and move.
2. A token can be recorded and repeated as a CUDA graph is: nothing in it waits, none of its tensors is made from a number of the CPU, and repeated
   on the tensors that it was recorded with, read a step late, it writes the same.
3. A row whose nucleus is longer than what is sorted takes the plain way for that token.
4. What the device does not take is left to the plain way with one line; where the setting is `on`, that is an error. So is a model on the slow way.
5. The rows of the cache are a power of two and keep within `engine.cache_tokens`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.engine.recording import Graph
from tests.unit.engine.tiny_engine import engine, loud, prose

from selfedit.engine.settings import TorchSettings
from selfedit.engine.torch import decode_static, hardware, sampling, training_pass
from selfedit.engine.torch.engine import Torch
from selfedit.engine.torch.kv_cache import KVCache
from selfedit.errors import EngineError
from selfedit.models import Family, tiny
from selfedit.types import Completion, LoraShape, SampleRequest, Sampling


@pytest.fixture
def as_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device says that it repeats what was recorded."""
    real = decode_static.StaticDecoder._write

    def write(self: Any, rows: Any) -> None:
        Graph.kept = (self.state, self.found, self.draws.seen)
        real(self, rows)

    monkeypatch.setattr(decode_static.StaticDecoder, "_write", write)
    monkeypatch.setattr(hardware, "has_graphs", lambda device: True)
    monkeypatch.setattr(training_pass, "_static", lambda arena, parts: None)  # what is written with was trained on the plain way
    monkeypatch.setattr(hardware, "recorded", Graph)
    Graph.made = 0


def requests(machine: Torch, length: int = 9, more: bool = False) -> list[SampleRequest]:
    adapters = [None, *(loud(machine, seed, LoraShape(rank, 32.0)) for seed, rank in enumerate((4, 2)))][: 2 + more]
    settings = [
        Sampling(length),
        Sampling(length - 4, temperature=0.7, seed=1),
        Sampling(length, temperature=1.0, top_p=0.8, seed=2, stop=("e", "ab")),
        Sampling(length, temperature=1.2, top_k=20, seed=3, repetition_penalty=1.2),
        Sampling(length + 36, repetition_penalty=1.3),
    ]
    prompts = [prose(random.Random(n), n) for n in (30, 4)]
    return [SampleRequest(p, s, a) for p in prompts for s in settings for a in adapters]


def same(mine: list[Completion], theirs: list[Completion]) -> None:
    assert [(c.tokens, c.text, c.finish_reason) for c in mine] == [(c.tokens, c.text, c.finish_reason) for c in theirs]
    assert [x for c in mine for x in c.logprobs] == pytest.approx([x for c in theirs for x in c.logprobs], abs=1e-9)


@pytest.mark.parametrize(("family", "cache"), [("llama", 600), ("gemma3", 0)])
def test_the_tokens_of_the_plain_way(family: Family, cache: int) -> None:  # promise 1
    plain, static = engine(family, graphs="off", cache_tokens=cache), engine(family, graphs="on", cache_tokens=cache)
    same(static.sample(requests(static, more=True)), plain.sample(requests(plain, more=True)))


def test_without_adapters_and_greedy() -> None:  # promise 1
    asked = [SampleRequest(prose(random.Random(n), 5 + n), Sampling(7)) for n in range(5)]
    same(engine(graphs="on").sample(asked), engine(graphs="off").sample(asked))


def test_repeated_as_recorded(as_graphs: None) -> None:  # promise 2
    plain, static = engine(graphs="off", cache_tokens=600), engine(graphs="auto", cache_tokens=600)
    asked, late = requests(static), list[int]()
    real = decode_static.StaticDecoder._read

    def read(self: Any, rows: Any, late_by: int) -> None:
        late.append(len(self.unread))
        real(self, rows, late_by)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_static.StaticDecoder, "_read", lambda self, rows, late: read(self, rows, late))
        same(static.sample(asked), plain.sample(requests(plain)))
    assert Graph.made and max(late) == 2  # a token was written before the last one was read


@pytest.mark.parametrize("graphs", [False, True])
def test_a_row_that_misses(graphs: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:  # promise 3
    if graphs:
        request.getfixturevalue("as_graphs")
    monkeypatch.setattr(sampling, "SHORTLIST", 2)
    plain, static = engine(graphs="off"), engine(graphs="on")
    asked = [SampleRequest(prose(random.Random(n), 9), Sampling(12, 1.5, 0.3, seed=n, repetition_penalty=1.2)) for n in range(6)]
    missed = list[int]()
    real = decode_static.StaticDecoder.__call__

    def call(self: Any, rows: Any) -> bool:
        missed.append(len(self.missed))
        return real(self, rows)

    monkeypatch.setattr(decode_static.StaticDecoder, "__call__", call)
    same(static.sample(asked), plain.sample(asked))
    assert max(missed) > 0


def test_what_the_device_does_not_take(as_graphs: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 4
    def refuse(step: Callable[[], None], device: Any) -> Callable[[], None]:
        raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")

    asked = [SampleRequest(prose(random.Random(n), 5 + n), Sampling(9)) for n in range(3)]
    theirs = engine(graphs="off").sample(asked)
    monkeypatch.setattr(hardware, "recorded", refuse)
    static = engine(graphs="auto")
    for _ in range(2):
        same(static.sample(asked), theirs)
    assert capsys.readouterr().err == "selfedit: engine.graphs is off from here on: CUDA error: operation not permitted\n"
    with pytest.raises(EngineError, match=r"engine.graphs is on, but CUDA error: operation not permitted; use auto or off"):
        engine(graphs="on").sample([SampleRequest(prose(random.Random(0), 9), Sampling(9))])


def test_the_slow_way_has_none(tmp_path: Any) -> None:  # promise 4
    import transformers

    from selfedit.models import HFTokenizer

    words = HFTokenizer(transformers.AutoTokenizer.from_pretrained(tiny("llama", tmp_path / "words", hidden=32)))
    config = transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=300)
    assert Torch(transformers.BloomForCausalLM(config), words, TorchSettings()).slow
    with pytest.raises(EngineError, match=r"engine.graphs is on, but the model runs the slow way"):
        Torch(transformers.BloomForCausalLM(config), words, TorchSettings(graphs="on"))


@pytest.mark.parametrize(("most", "count", "rows"), [(5, 9, 4), (8, 5, 8), (3, 1, 1), (0, 3, 1), (16, 16, 16)])
def test_rows(most: int, count: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 5
    made, real = list[int](), KVCache.__init__
    monkeypatch.setattr(KVCache, "__init__", lambda self, rows: made.append(rows) or real(self, rows))  # type: ignore[func-returns-value]
    machine = engine(graphs="on", cache_tokens=64 * most + 1)
    machine.sample([SampleRequest(prose(random.Random(n), 9), Sampling(5)) for n in range(count)])
    assert made == [rows] and rows <= max(1, most)
