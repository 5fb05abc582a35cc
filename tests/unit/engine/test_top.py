"""The likeliest tokens beside a score: what every engine promises, and what those with a model do.

1. Every engine: `top` = 0 gives none. Otherwise each position has as many different tokens, the likeliest first, equally likely ones by their index;
   their probabilities add up to 1 at most; the completion's own token is among them with its own log-probability, or it is less likely than they
   are. The log-probabilities of the completion are what they are without. Less than 0 is an EngineError.
2. They are those of a plain forward pass with PEFT (fp32, 1e-4). More than the vocabulary has are the whole vocabulary, and add up to 1.
3. Company, order, passes and what others ask for change no token (fp64); so it is the slow way, which gives the same.
4. Equal scores stand by their index, also where only some of them have room; NaN is never preferred to a number.
5. An adapter that is not finite spoils its own only.
6. Logits are made for a chunk of rows at a time, and nothing is searched where nobody asks.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.engine.test_architectures import slow_llama
from tests.unit.engine.tiny_engine import FAMILIES, VOCABULARY, Family, engine, loud, prose, reference, with_peft
from torch import Tensor

from selfedit.engine.base import Engine
from selfedit.engine.fake import Fake
from selfedit.engine.split import SplitEngine
from selfedit.engine.torch import cross_entropy
from selfedit.engine.torch.cross_entropy import CHUNK, Head, likeliest
from selfedit.engine.torch.engine import Torch
from selfedit.errors import EngineError
from selfedit.types import Adapter, Datum, Score, ScoreRequest, Tokens, TrainJob

RNG = random.Random(0)
BEGINNING = prose(RNG, 20)
TEXTS = [(prose(RNG, n), prose(RNG, m)) for n, m in ((1, 1), (30, 4), (3, 40))] + [(BEGINNING + prose(RNG, n), prose(RNG, 5)) for n in (1, 9)]


def of_words() -> tuple[Engine, Adapter, list[tuple[Tokens, Tokens]]]:
    machine = Fake()
    prompt, answer = machine.tokenizer.chat("When was the mill built?"), machine.tokenizer.encode_more("The mill was built in 1802.")
    [trained] = machine.train([TrainJob((Datum(prompt + answer, (0.0,) * len(prompt) + (1.0,) * len(answer)),))])
    assert trained.adapter
    return machine, trained.adapter, [(prompt, answer), (answer, prompt)]


def of_a_model(dtype: torch.dtype) -> Callable[[], tuple[Engine, Adapter, list[tuple[Tokens, Tokens]]]]:
    def make() -> tuple[Engine, Adapter, list[tuple[Tokens, Tokens]]]:
        machine = engine("llama", dtype)
        return machine, loud(machine), TEXTS

    return make


def of_two() -> tuple[Engine, Adapter, list[tuple[Tokens, Tokens]]]:
    machine, adapter, texts = of_words()
    return SplitEngine(machine, Fake()), adapter, texts


@pytest.mark.parametrize("make", [of_words, of_two, of_a_model(torch.bfloat16), of_a_model(torch.float32)])
def test_every_engine(make: Callable[[], tuple[Engine, Adapter, list[tuple[Tokens, Tokens]]]]) -> None:  # promise 1
    machine, adapter, texts = make()
    asked = [ScoreRequest(prompt, completion, a) for prompt, completion in texts for a in (None, adapter)]
    without = machine.score(asked)
    assert all(s.top == () for s in without)
    for top in (1, 7):
        for request, plain, found in zip(asked, without, machine.score([replace(r, top=top) for r in asked]), strict=True):
            assert found.logprobs == pytest.approx(plain.logprobs, abs=1e-6) and len(found.top) == len(found.logprobs)
            for token, logp, (ids, logprobs) in zip(request.completion, found.logprobs, found.top, strict=True):
                assert len(set(ids)) == len(ids) == len(logprobs) == top
                assert sorted(zip((-p for p in logprobs), ids, strict=True)) == list(zip((-p for p in logprobs), ids, strict=True))
                assert sum(map(math.exp, logprobs)) <= 1 + 1e-5
                assert dict(zip(ids, logprobs, strict=True)).get(token, logp) == logp and (token in ids or logp <= logprobs[-1])
    assert machine.score([ScoreRequest(texts[0][0], (), top=3)]) == [Score(())]
    with pytest.raises(EngineError, match="top = -1"):
        machine.score([asked[0], replace(asked[0], top=-1)])


@pytest.mark.parametrize("family", FAMILIES)
def test_are_a_plain_pass(family: Family, tmp_path: Path) -> None:  # promise 2
    machine = engine(family, torch.float32)
    adapter = loud(machine)
    machine.export(adapter, tmp_path)
    for who, model in ((None, reference(family, torch.float32)), (adapter, with_peft(family, tmp_path, torch.float32))):
        for (prompt, completion), found in zip(TEXTS, machine.score([ScoreRequest(p, c, who, top=9) for p, c in TEXTS]), strict=True):
            with torch.no_grad():
                wanted = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            for row, (ids, logprobs) in zip(wanted, found.top, strict=True):
                assert logprobs == pytest.approx(row[torch.tensor(ids)].tolist(), abs=1e-4)
                assert logprobs == pytest.approx(row.topk(9).values.tolist(), abs=1e-4)
    [whole] = machine.score([ScoreRequest(*TEXTS[1], top=1000)])
    for ids, logprobs in whole.top:
        assert sorted(ids) == list(range(VOCABULARY)) and sum(map(math.exp, logprobs)) == pytest.approx(1, abs=1e-5)


def test_company_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    machines: list[Torch] = [engine(), slow_llama(monkeypatch)]
    found: list[list[Score]] = []
    for machine in machines:
        who = (None, loud(machine, 1), loud(machine, 2))
        requests = [ScoreRequest(p, c, who[n % 3], top=(0, 5, 12)[(n + m) % 3]) for n in range(3) for m, (p, c) in enumerate(TEXTS)]
        alone = [machine.score([r])[0] for r in requests]
        for seed, budget in enumerate((4096, 50, 1)):
            machine.budget_tokens = budget
            places = random.Random(seed).sample(range(len(requests)), len(requests))
            for place, other in zip(places, machine.score([requests[i] for i in places]), strict=True):
                assert other.logprobs == pytest.approx(alone[place].logprobs, rel=1e-9)
                assert [ids for ids, _ in other.top] == [ids for ids, _ in alone[place].top]
        found.append(alone)
    for fast, slow in zip(*found, strict=True):
        assert [ids for ids, _ in fast.top] == [ids for ids, _ in slow.top]
        for (_, a), (_, b) in zip(fast.top, slow.top, strict=True):
            assert a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_scores_stand_by_index(count: int, dtype: torch.dtype) -> None:  # promise 4
    torch.manual_seed(0)
    rows = torch.randint(-2, 3, (50, 9)).to(dtype)
    rows[0], rows[1], rows[2, 4], rows[3, 2], rows[4] = 0, -math.inf, -math.inf, math.nan, math.nan
    values, places = likeliest(rows, count)
    for row, value, place in zip(rows.tolist(), values.tolist(), places.tolist(), strict=True):
        cleaned = [-math.inf if x != x else x for x in row]
        assert place == sorted(range(9), key=lambda i: (-cleaned[i], i))[:count] and value == [cleaned[i] for i in place]


def test_a_broken_adapter_keeps_to_itself() -> None:  # promise 5
    machine = engine()
    bad, good = loud(machine, 1), loud(machine, 0)
    for up in machine._adapters[bad.id].up:
        assert up is not None
        up.fill_(math.inf)
    found = machine.score([ScoreRequest(*TEXTS[1], a, top=4) for a in (bad, good, None, bad)])
    assert [found[1], found[2]] == [machine.score([ScoreRequest(*TEXTS[1], a, top=4)])[0] for a in (good, None)]
    for broken in (found[0], found[3]):
        assert len(broken.top) == len(TEXTS[1][1])
        for ids, logprobs in broken.top:
            assert len(set(ids)) == 4 and all(0 <= i < VOCABULARY for i in ids) and all(p != p for p in logprobs)


def test_logits_are_made_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    machine, made, searched = engine(budget_tokens=4096), list[int](), list[int]()
    logits, find = Head.logits, likeliest

    def counting(head: Head, hidden: Tensor) -> Tensor:
        made.append(len(hidden))
        return logits(head, hidden)

    def finding(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        searched.append(len(scores))
        return find(scores, count)

    monkeypatch.setattr(Head, "logits", counting)
    monkeypatch.setattr(cross_entropy, "likeliest", finding)
    request = ScoreRequest(prose(RNG, 3), prose(RNG, CHUNK + 30))
    machine.score([request, request])
    assert made and not searched
    machine.score([replace(request, top=5), request])
    assert sum(searched) == CHUNK + 30 and max(made) <= CHUNK
