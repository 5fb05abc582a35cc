"""Sampling and scoring with many adapters at once.

1. Greedy generation is transformers' `generate` with the PEFT adapter, token for token (fp32): every family, prompts of different lengths, several
   adapters and none in one call, prompts that begin alike among them, with and without a repetition penalty.
2. A completion does not depend on neighbours, order, workers or the size of the cache: exactly the same tokens (fp64). `max_tokens` only cuts it.
3. Temperature, top-p, top-k and both are what they are defined to be: chi-squared against exact probabilities, and nothing outside the support.
   Tokens of one probability stand in the order of their index, for every way of drawing: top_k = 1 is greedy.
4. Stop strings, end tokens and max_tokens end a completion as described in `Completion`: every token that was drawn is there, that of the end too.
5. Log-probabilities of a completion are those of `score`, at any temperature and penalty.
6. `score` is a plain forward pass with PEFT (fp32, 1e-4), in passes of any size.
7. An adapter whose numbers are not finite spoils its own rows only, also for those who come after it in the cache.
8. However many requests there are, and however much they share, the cache stays within `cache_tokens`.
9. Too long, empty and pointless requests are EngineErrors; no requests, no answers.
10. What an engine did before never matters: a run that was stopped and resumed, whose adapters have other names, makes the same passes as one that
    was not, and so rounds as it does.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engine.tiny_engine import FAMILIES, VOCABULARY, Family, engine, folder, job, loud, plain_logprobs, prose, reference, with_peft
from torch import Tensor

from selfedit.engine.settings import TorchSettings
from selfedit.engine.torch.engine import Torch
from selfedit.engine.torch.kv_cache import KVCache
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.sampling import UNIFORMS, Limits, _inside, _nucleus, draw, draw_at_once
from selfedit.errors import EngineError
from selfedit.models import load
from selfedit.types import Adapter, Completion, LoraShape, SampleRequest, Sampling, Score, ScoreRequest

RNG = random.Random(0)
BEGINNING = prose(RNG, 20)
PROMPTS = [*(prose(RNG, n) for n in (1, 30, 4, 17, 18)), BEGINNING, *(BEGINNING + prose(RNG, n) for n in (1, 3, 12))]
SHAPES = (LoraShape(4, 32.0), LoraShape(2, 64.0, ("q_proj", "down_proj")))


def with_cache(machine: Torch, cache_tokens: int) -> Torch:
    machine.settings = machine.settings.model_copy(update={"cache_tokens": cache_tokens})
    return machine


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_generate(family: Family, penalty: float, tmp_path: Path) -> None:  # promise 1
    machine = engine(family, torch.float32)
    adapters: list[Adapter | None] = [None, *(loud(machine, seed, shape) for seed, shape in enumerate(SHAPES))]
    sampling = Sampling(max_tokens=16, repetition_penalty=penalty)
    requests = [SampleRequest(p, sampling, a) for p in PROMPTS for a in adapters]
    found = dict(zip([(r.prompt, r.adapter) for r in requests], machine.sample(requests), strict=True))
    for place, adapter in enumerate(adapters):
        if adapter:
            machine.export(adapter, tmp_path / str(place))
        model = with_peft(family, tmp_path / str(place), torch.float32) if adapter else reference(family, torch.float32)
        for prompt in PROMPTS:
            tokens, ends = torch.tensor([prompt]), sorted(machine.ends)
            options = {"max_new_tokens": 16, "do_sample": False, "repetition_penalty": penalty, "eos_token_id": ends, "pad_token_id": 0}
            wanted = model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), **options)[0, len(prompt) :].tolist()
            mine = found[prompt, adapter]
            assert mine.tokens == tuple(wanted), (place, len(prompt))
            assert mine.finish_reason == ("stop" if wanted[-1] in machine.ends else "length")
    assert len({c.tokens for c in found.values()}) > len(PROMPTS)


def mixed(adapters: list[Adapter | None]) -> list[SampleRequest]:
    settings = [
        Sampling(max_tokens=12, temperature=1.0),
        Sampling(max_tokens=20, temperature=0.7, top_p=0.8),
        Sampling(max_tokens=5, temperature=1.5, top_k=10),
        Sampling(max_tokens=17),
        Sampling(max_tokens=9, temperature=1.0, top_p=0.95, top_k=30, repetition_penalty=1.2),
        Sampling(max_tokens=1, temperature=1.0),
    ]
    rng = random.Random(3)
    return [SampleRequest(rng.choice(PROMPTS), replace(settings[i % 6], seed=i), rng.choice(adapters)) for i in range(24)]


@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_never_matter(family: Family) -> None:  # promise 2
    machine = engine(family)
    adapters: list[Adapter | None] = [None, *(loud(machine, seed, shape) for seed, shape in enumerate(SHAPES))]
    requests = mixed(adapters)
    alone = [machine.sample([r])[0] for r in requests]
    for cache_tokens, budget in ((24576, 1024), (24576, 40), (1, 1024), (110, 1), (400, 40)):
        order = random.Random(cache_tokens + budget).sample(range(len(requests)), len(requests))
        machine.budget_tokens = budget
        found = with_cache(machine, cache_tokens).sample([requests[i] for i in order])
        for i, one in zip(order, found, strict=True):
            assert (one.tokens, one.text, one.finish_reason) == (alone[i].tokens, alone[i].text, alone[i].finish_reason)
            assert one.logprobs == pytest.approx(alone[i].logprobs, abs=1e-10)
    longer = machine.sample([replace(r, sampling=replace(r.sampling, max_tokens=30)) for r in requests])
    assert all(b.tokens[: len(a.tokens)] == a.tokens for a, b in zip(alone, longer, strict=True))


def test_workers_never_matter() -> None:  # promise 2
    machine = engine()
    requests = mixed([None, *(loud(machine, seed, shape) for seed, shape in enumerate(SHAPES))])
    asked = [ScoreRequest(r.prompt, PROMPTS[1], r.adapter) for r in requests]
    alone, scores = machine.sample(requests), machine.score(asked)
    torch.set_num_threads(3)
    try:
        together, others = machine.sample(requests), machine.score(asked)
    finally:
        torch.set_num_threads(1)
    assert [(c.tokens, c.text, c.finish_reason) for c in together] == [(c.tokens, c.text, c.finish_reason) for c in alone]
    for mine, theirs in zip(others, scores, strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-10)


def test_the_past_never_matters(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 10
    passes: list[list[int]] = []
    forward = Base.forward

    def watched(self: Base, tokens: Tensor, *rest: Any) -> Tensor:
        passes.append(tokens.tolist())
        return forward(self, tokens, *rest)

    monkeypatch.setattr(Base, "forward", watched)
    found: list[tuple[list[list[int]], list[Completion], list[Score]]] = []
    for before in (0, 6):
        machine = engine(dtype=torch.bfloat16, budget_tokens=64)
        for seed in range(before):
            machine.drop(loud(machine, seed))
        adapters = [loud(machine, seed, shape) for seed in range(4) for shape in SHAPES]
        assert before == 0 or {adapter.id for adapter in adapters} > {"adapter-9", "adapter-10"}
        texts = [(prompt, adapter) for n, adapter in enumerate(adapters) for prompt in PROMPTS[n:]]
        passes.clear()
        sampled = machine.sample([SampleRequest(p, Sampling(max_tokens=24), a) for p, a in texts])
        scored = machine.score([ScoreRequest(p, PROMPTS[1], a) for p, a in texts])
        found.append((list(passes), sampled, scored))
    assert found[0] == found[1]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 8
    sizes: list[int] = []
    reserve = KVCache.reserve

    def watched(cache: KVCache, length: int) -> None:
        reserve(cache, length)
        sizes.append(cache.rows * cache.capacity)

    monkeypatch.setattr(KVCache, "reserve", watched)
    machine = with_cache(engine(), 1024)
    machine.budget_tokens = 10_000
    requests = [SampleRequest(BEGINNING + prose(RNG, n % 30), Sampling(max_tokens=1 + n % 50, temperature=1.0, seed=n)) for n in range(400)]
    assert len(machine.sample(requests)) == 400 and 512 <= max(sizes) <= 1024
    sizes.clear()
    asked = [ScoreRequest(BEGINNING * 5, prose(RNG, 1 + n % 9)) for n in range(400)]
    bounded = machine.score(asked)
    assert 512 <= max(sizes) <= 1024
    for mine, theirs in zip(bounded, with_cache(machine, 10**6).score(asked), strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-10)
    assert max(sizes) > 10_000  # so much it would be


# ---------------------------------------------------------------- distribution


def exact(machine: Torch, s: Sampling) -> Tensor:
    """Probabilities (V,) of the token after PROMPTS[1]: the smallest set of mass top_p, of at most top_k tokens, at the temperature."""
    with torch.no_grad():
        logits = reference()(torch.tensor([PROMPTS[1]])).logits[0, -1].double()
    p = (logits / s.temperature).softmax(-1)
    best, index = p.sort(descending=True)
    keep = best.cumsum(0) - best < s.top_p
    keep[s.top_k or VOCABULARY :] = False
    kept = torch.zeros_like(p).index_put((index[keep],), best[keep])
    return kept / kept.sum()


def chi_squared(counts: Tensor, p: Tensor) -> float:
    """P-value of counts (V,); cells expected less than five times are taken together."""
    expected = p * counts.sum()
    large = expected >= 5
    o, e = (torch.cat([z[large], z[~large].sum()[None]]) for z in (counts, expected))
    o, e = o[e > 0], e[e > 0]
    return float(torch.special.gammaincc(torch.tensor((len(o) - 1) / 2), ((o - e).square() / e).sum() / 2))


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=1, temperature=1.0),
        Sampling(max_tokens=1, temperature=0.4),
        Sampling(max_tokens=1, temperature=1.0, top_p=0.7),
        Sampling(max_tokens=1, temperature=6.0, top_p=0.99),  # more than the shortlist holds
        Sampling(max_tokens=1, temperature=1.3, top_k=12),
        Sampling(max_tokens=1, temperature=6.0, top_k=270),
        Sampling(max_tokens=1, temperature=1.0, top_p=0.5, top_k=8),
        Sampling(max_tokens=1, temperature=2.0, top_p=0.05),
    ],
)
def test_distribution(sampling: Sampling) -> None:  # promise 3
    machine = engine()
    machine.ends = frozenset()
    found = machine.sample([SampleRequest(PROMPTS[1], replace(sampling, seed=seed)) for seed in range(4000)])
    counts = torch.bincount(torch.tensor([c.tokens[0] for c in found]), minlength=VOCABULARY).double()
    p = exact(machine, sampling)
    assert counts[p == 0].sum() == 0
    assert (p > 0).sum() == 1 or chi_squared(counts, p) > 1e-3


TIED = [(0.4, 0.2, 0.2, 0.2), (0.5, 0.5), (0.125,) * 8, (0.1, 0.3, 0.1, 0.3, 0.1, 0.1), (0.25, 0.0, 0.25, 0.25, 0.25), (1 / 512,) * 512]
CUTS = [(1.0, 2), (1.0, 1), (0.3, 0), (0.375, 0), (0.5, 3), (0.9, 0), (0.2, 1), (1.0, 300), (0.6, 400)]


@pytest.mark.parametrize(("top_p", "top_k"), CUTS)
@pytest.mark.parametrize("row", TIED, ids=len)
def test_ties_stand_by_index(row: tuple[float, ...], top_p: float, top_k: int) -> None:  # promise 3
    p, V = torch.tensor([row]), len(row)
    row = tuple(p[0].double().tolist())
    order = sorted(range(V), key=lambda i: (-row[i], i))
    nucleus = [i for place, i in enumerate(order) if sum(row[j] for j in order[:place]) < top_p and place < (top_k or V) and row[i] > 0]
    every = torch.arange(V)
    settings = Sampling(temperature=1.0, top_p=top_p, top_k=top_k)
    inside = _inside(p.repeat(V, 1), every, Limits.of([settings] * V, p))
    assert [i for i in range(V) if inside[i]] == sorted(nucleus)
    n = 4000
    rows, limits = p.repeat(n, 1), Limits.of([settings] * n, p)
    uniforms = torch.rand(n, UNIFORMS, dtype=torch.float64, generator=torch.Generator().manual_seed(V))
    found = draw(rows, limits, uniforms)
    sorted_out = _nucleus(rows, limits, (torch.arange(n, dtype=torch.float64) + 0.5) / n)
    at_once, missed = draw_at_once(rows, limits, uniforms)
    assert torch.equal(at_once[~missed], found[~missed]) and torch.equal(_nucleus(rows, limits, uniforms[:, -1])[missed], found[missed])
    wanted = torch.zeros(V, dtype=torch.float64).index_put((torch.tensor(nucleus),), torch.tensor([row[i] for i in nucleus], dtype=torch.float64))
    for drawn in (found, sorted_out):
        counts = torch.bincount(drawn, minlength=V).double()
        assert counts[wanted == 0].sum() == 0
        assert len(nucleus) == 1 or chi_squared(counts, wanted / wanted.sum()) > 1e-3


def test_top_k_of_one_is_greedy() -> None:  # promise 3
    machine = engine(dtype=torch.bfloat16)
    settings = [Sampling(max_tokens=20, temperature=1.0, top_k=1, seed=3), Sampling(max_tokens=20)]
    one, greedy = (machine.sample([SampleRequest(p, s) for p in PROMPTS]) for s in settings)
    assert [c.tokens for c in one] == [c.tokens for c in greedy]


def test_chi_squared_notices() -> None:
    """The test of promise 3 can fail: a wrong temperature is found out."""
    machine = engine()
    machine.ends = frozenset()
    found = machine.sample([SampleRequest(PROMPTS[1], Sampling(max_tokens=1, temperature=1.0, seed=seed)) for seed in range(4000)])
    counts = torch.bincount(torch.tensor([c.tokens[0] for c in found]), minlength=VOCABULARY).double()
    assert chi_squared(counts, exact(machine, Sampling(temperature=1.2))) < 1e-6


# ---------------------------------------------------------------- ends


def test_ends() -> None:  # promise 4
    machine = engine()
    request = SampleRequest(PROMPTS[1], Sampling(max_tokens=30, temperature=1.0, seed=5))
    [whole] = machine.sample([request])
    assert whole.finish_reason == "length" and len(whole.tokens) == len(whole.logprobs) == 30
    assert whole.text == machine.tokenizer.decode(whole.tokens)
    stop = next(whole.text[i : i + 2] for i in range(6, len(whole.text)) if whole.text[i : i + 2].isascii())
    [cut, early] = machine.sample(
        [replace(request, sampling=replace(request.sampling, stop=s)) for s in (("never said", stop), (whole.text[:1], stop))]
    )
    assert cut.finish_reason == "stop" and cut.text == whole.text[: whole.text.index(stop)]
    assert cut.tokens == whole.tokens[: len(cut.tokens)] and stop in machine.tokenizer.decode(cut.tokens)
    assert stop not in machine.tokenizer.decode(cut.tokens[:-1])
    assert early.text == "" and early.finish_reason == "stop"
    last = next(i for i in range(5, 30) if whole.tokens[i] not in whole.tokens[:i])
    machine.ends = frozenset({whole.tokens[last]})
    [ended, exactly] = machine.sample([request, replace(request, sampling=replace(request.sampling, max_tokens=last))])
    assert ended.tokens == whole.tokens[: last + 1] and ended.finish_reason == "stop" and ended.logprobs == pytest.approx(whole.logprobs[: last + 1])
    assert exactly.tokens == whole.tokens[:last] and exactly.finish_reason == "length" and exactly.text == ended.text


def test_every_end_token_of_the_model_ends() -> None:  # promise 4
    """Those of generation_config, config, tokenizer and template: a text that is continued ends at them too."""
    model, tokenizer = load(folder("llama"), torch.float32)
    model.generation_config.eos_token_id = [7, 9]
    model.config.eos_token_id = 11
    machine = Torch(model, tokenizer, TorchSettings())
    assert machine.ends == {7, 9, 11, tokenizer.inner.eos_token_id, *tokenizer.end} and len(machine.ends) == 5


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_are_those_of_score(family: Family) -> None:  # promise 5
    machine = engine(family)
    requests = mixed([None, *(loud(machine, seed, shape) for seed, shape in enumerate(SHAPES))])
    found = machine.sample(requests)
    scored = machine.score([ScoreRequest(r.prompt, c.tokens, r.adapter) for r, c in zip(requests, found, strict=True)])
    for completion, score in zip(found, scored, strict=True):
        assert completion.logprobs == pytest.approx(score.logprobs, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_a_plain_pass(family: Family, tmp_path: Path) -> None:  # promise 6
    machine = engine(family, torch.float32)
    adapters: list[Adapter | None] = [None, *(loud(machine, seed, shape) for seed, shape in enumerate(SHAPES))]
    rng = random.Random(1)
    requests = [ScoreRequest(prose(rng, n), prose(rng, m), a) for n, m in ((1, 1), (40, 2), (3, 70), (2, 0), (9, 9)) for a in adapters]
    rng.shuffle(requests)
    models = {None: reference(family, torch.float32)}
    for place, adapter in enumerate(adapters):
        if adapter:
            machine.export(adapter, tmp_path / str(place))
            models[adapter] = with_peft(family, tmp_path / str(place), torch.float32)
    for budget in (1024, 1, 100):
        machine.budget_tokens = budget
        for request, score in zip(requests, machine.score(requests), strict=True):
            wanted = plain_logprobs(models[request.adapter], request.prompt, request.completion)
            assert score.logprobs == pytest.approx(wanted.tolist(), abs=1e-4)


# ---------------------------------------------------------------- trouble


def test_broken_adapters_keep_to_themselves() -> None:  # promise 7
    machine = with_cache(engine(), 120)
    bad, good = loud(machine, 1), loud(machine, 0)  # in this order they come into the cache
    for up in machine._adapters[bad.id].up:
        assert up is not None
        up.fill_(float("inf"))
    healthy = [SampleRequest(p, Sampling(max_tokens=10 + i, seed=i), a) for i, p in enumerate(PROMPTS) for a in (good, None)]
    broken = [SampleRequest(p, Sampling(max_tokens=m), bad) for p in PROMPTS for m in (3, 25)]
    alone = machine.sample(healthy)
    both = machine.sample([r for pair in zip(broken, healthy, strict=True) for r in pair])[1::2]
    assert [c.tokens for c in both] == [c.tokens for c in alone]
    scores = machine.score([ScoreRequest(PROMPTS[1], PROMPTS[2], a) for a in (bad, good, None, bad)])
    assert [s.mean == s.mean for s in scores] == [False, True, True, False]


def test_wrong_requests() -> None:  # promise 9
    machine = engine()
    long = prose(RNG, machine.context_tokens)
    for sample in (SampleRequest(long, Sampling(max_tokens=1)), SampleRequest(()), SampleRequest((5,), Sampling(max_tokens=0))):
        with pytest.raises(EngineError):
            machine.sample([sample])
    for score in (ScoreRequest(long, (5,)), ScoreRequest((), (5,))):
        with pytest.raises(EngineError):
            machine.score([score])
    assert machine.sample([]) == [] and machine.score([]) == [] and machine.train([]) == []
    assert machine.score([ScoreRequest((5,), ())]) == [Score(())]


def test_progress() -> None:
    machine, seen = engine(), []
    machine.sample([SampleRequest(p, Sampling(max_tokens=3)) for p in PROMPTS], lambda *now: seen.append(now))
    machine.score([ScoreRequest(p, p) for p in PROMPTS], lambda *now: seen.append(now))
    assert seen.count((len(PROMPTS), len(PROMPTS))) >= 2
    seen.clear()
    one = job(0, epochs=2)
    machine.train([one], lambda *now: seen.append(now))
    tokens = 2 * sum(len(d.tokens) for d in one.data)
    assert seen[-1] == (tokens, tokens) and len(seen) == 10
    assert isinstance(machine.sample([SampleRequest((5,), Sampling(max_tokens=2))])[0], Completion)
