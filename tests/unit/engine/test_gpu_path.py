"""What the engine does on a GPU, done on a CPU: the device says that it is one.

1. Training together, sampling and scoring come to what they do on a CPU (fp64): other blocks, buckets, chunks, optimizer and order of reading.
   Jobs that diverge fail as they do there, though a step late.
2. A grouped product takes no layer whose width is no multiple of 8, and no more than 1023 adapters; one adapter alone takes plain products.
3. A bucket of sequences has a bound for its padding, however many join.
4. A pass keeps for its backward pass what the formula says, and gets as many tokens as memory has room for.
5. A pass that finds no memory is done again in halves, to the same result; a sequence that finds none alone fails its own job.
6. The key-value cache is as large as memory allows. Finished rows leave all at once.
7. Weights are read straight into a GPU's memory where accelerate is installed.
8. The bf16 products of a GPU add up in fp32.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import pytest
import torch
from tests.unit.engine.tiny_engine import FAMILIES, distance, engine, flat, job, loud, prose
from torch import Tensor

from selfedit.engine.torch import hardware, training_pass
from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.attention import BUCKET_WASTE, FlatAttention, buckets
from selfedit.engine.torch.budget import CACHE_TOKENS, MOST_TOKENS, Kept, cache_tokens, measure, token_bytes
from selfedit.engine.torch.engine import Torch
from selfedit.engine.torch.grouped import MOST, GroupedBlock
from selfedit.engine.torch.kv_cache import KVCache
from selfedit.engine.torch.lora import PaddedBlock, SingleBlock, blocks
from selfedit.errors import EngineError
from selfedit.models import Family, weights
from selfedit.types import LoraShape, Optimizer, SampleRequest, Sampling, ScoreRequest

CPU = torch.device("cpu")
CALM = Optimizer(eps=1e-4, clip=0.0)
CLIPPED = Optimizer(eps=1e-4, clip=0.01, schedule="cosine")
JOBS = [
    job(0, (12, 30, 5), optimizer=CALM),
    job(1, (40, 2, 9, 17), LoraShape(1, 4.0), epochs=2, batch_size=2, optimizer=CALM),
    job(2, (90, 7), LoraShape(8, 8.0, ("q_proj", "v_proj")), optimizer=CALM),
    job(3, (7,) * 5, batch_size=3, epochs=3, optimizer=CALM),
    job(4, (9, 9), optimizer=CLIPPED),
    job(5, (20, 20, 20), optimizer=Optimizer(lr=1e12, clip=0.0)),
]


@pytest.fixture
def as_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on the device is a GPU with 8 GB free."""

    def change() -> None:
        monkeypatch.setattr(hardware, "on_gpu", lambda device: True)
        monkeypatch.setattr(hardware, "free_bytes", lambda device: 8 * 10**9)

    return change


@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_the_same(family: Family, as_gpu: Callable[[], None]) -> None:  # promise 1
    cpu = engine(family)
    plain = cpu.train(JOBS)
    as_gpu()
    gpu = engine(family, slots=4)
    for budget in (0, 64):
        gpu.budget_tokens = budget
        for mine, theirs, one in zip(gpu.train(JOBS), plain, JOBS, strict=True):
            assert (mine.failure or "")[:30] == (theirs.failure or "")[:30] and len(mine.losses) == len(theirs.losses)
            if theirs.adapter:
                assert mine.losses == pytest.approx(theirs.losses, rel=1e-9 if one.optimizer.clip == 0 else 1e-6) and mine.tokens == theirs.tokens
                assert distance(flat(gpu, mine), flat(cpu, theirs)) <= (1e-9 if one.optimizer.clip == 0 else 1e-6)  # fused AdamW clips in fp32


def test_answers_are_the_same(as_gpu: Callable[[], None]) -> None:  # promise 1
    found: list[Any] = []
    for change in (lambda: None, as_gpu):
        change()
        machine = engine()
        adapters = [None, *(loud(machine, seed, LoraShape(rank, 32.0)) for seed, rank in enumerate((4, 4, 2)))]
        settings = [Sampling(9, s * 0.5, 0.9, seed=s, repetition_penalty=1.1 if s == 2 else 1.0) for s in range(3)]
        prompts = [prose(random.Random(n), n) for n in (30, 4, 17)]
        written = machine.sample([SampleRequest(p, s, a) for p in prompts for s in settings for a in adapters])
        scores = machine.score([ScoreRequest(p, prompts[1], a, top=t) for p in prompts for a in adapters for t in (0, 3)])
        found.append(([c.tokens for c in written], [x for s in scores for x in s.logprobs]))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-5)  # their adapters were clipped


def test_grouped_products(as_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    plain = engine(dtype=torch.bfloat16).train(JOBS[:5])
    as_gpu()
    monkeypatch.setattr(hardware, "has_grouped_mm", lambda like: True)
    for mine, theirs in zip(engine(dtype=torch.bfloat16).train(JOBS[:5]), plain, strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=0.02)


@pytest.mark.parametrize("width", [1, 4, 24])
def test_odd_layers(width: int, as_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    as_gpu()
    monkeypatch.setattr(hardware, "has_grouped_mm", lambda like: True)
    runs, start, rows, i = [(2, 3), (0, 5), (1, 1)], 1, 11, 16
    x, dy = torch.randn(rows, i).bfloat16(), torch.randn(rows, width).bfloat16()
    down, up, scale = torch.randn(3, 8, i).bfloat16(), torch.randn(3, 8, width).bfloat16(), torch.tensor([0.5, 2.0, 1.0]).bfloat16()[:, None, None]
    [block] = blocks(runs, x, start, odd=True)
    assert isinstance(block, GroupedBlock)
    starts = accumulate((n for _, n in runs[:-1]), initial=start)
    alone = [SingleBlock(first, first + n, k) for (k, n), first in zip(runs, starts, strict=True)]
    found = []
    for ways in ([block], alone):
        y, dx, into = dy.clone(), x.clone(), (torch.zeros(3, 8, i), torch.zeros(3, 8, width))
        for one in ways:
            one.backward(dx, dy, x, one.forward(y, x, down, up, scale), down, up, scale, into)
        found.append((y, dx, *into))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0.05, atol=0.5)
    assert block.other and (block._scales is None) == (width % 8 > 0)  # the odd ones went the other way


def test_blocks_of_a_gpu(as_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    as_gpu()
    like = torch.zeros(0)
    assert [type(b) for b in blocks([(0, 5), (1, 900)], like)] == [PaddedBlock]
    monkeypatch.setattr(hardware, "has_grouped_mm", lambda like: True)
    many = blocks([(k, 2) for k in range(MOST + 2)], like)
    assert [type(b) for b in many] == [GroupedBlock, GroupedBlock] and many[0].end == many[1].start == 2 * MOST
    assert isinstance(many[0], GroupedBlock) and many[0].adapters == slice(0, MOST) and len(many[0].ends) == MOST
    [one] = blocks([(3, 7)], like)
    assert isinstance(one, SingleBlock)
    assert [b.end - b.start for b in blocks([(0, 3), (1, 4), (0, 5)], like)] == [7, 5]  # an adapter is in a block once


def test_padding_of_a_bucket_has_a_bound(as_gpu: Callable[[], None]) -> None:  # promise 3
    lengths = [500] + [20] * 385
    as_gpu()
    found = buckets(lengths, CPU)
    for bucket in found:
        count, longest = bucket.shape
        assert count * longest**2 - sum(lengths[i] ** 2 for i in bucket.members) <= BUCKET_WASTE
    assert len(found) == 2 and sum(s * t**2 for s, t in (b.shape for b in found)) < 2 * sum(n**2 for n in lengths) + BUCKET_WASTE
    assert len(buckets([300, 299, 150, 20], CPU)) == 1
    assert len(buckets([300], CPU)[0].parts()) == 1 and len(buckets([4096], CPU)[0].parts()) == 4


# ---------------------------------------------------------------- memory


def kept_bytes(machine: Torch, lengths: list[int], lora: LoraShape) -> float:
    """What autograd keeps of a pass, beside weights and adapters: counted, each storage once."""
    arena, found = Arena(machine.base, 1, [lora]), dict[int, int]()
    own = {z.untyped_storage().data_ptr() for z in (*machine.base.backbone.parameters(), *machine.base.backbone.buffers(), arena.shadow, arena.scale)}

    def note(z: Tensor) -> Tensor:
        found[z.untyped_storage().data_ptr()] = z.untyped_storage().nbytes()
        return z

    tokens, positions = torch.zeros(sum(lengths), dtype=torch.long), torch.cat([torch.arange(n) for n in lengths])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda z: z):
        out = machine.base.forward(tokens, positions, FlatAttention(lengths, CPU), arena.bank, machine.base.blocks([(0, sum(lengths))]))
    del out
    return sum(size for place, size in found.items() if place not in own)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("targets", [("all",), ("q_proj", "v_proj")])
def test_the_formula(family: Family, targets: tuple[str, ...], as_gpu: Callable[[], None]) -> None:  # promise 4
    machine, lora = engine(family, torch.float32), LoraShape(8, 8.0, targets)
    kept = measure(machine.base, Arena(machine.base, 1, [lora]).bank)
    as_gpu()
    for lengths in ([200, 200], [60, 60, 60], [128]):
        assert kept_bytes(machine, lengths, lora) == pytest.approx(kept.of(lengths), rel=0.02)
    more = engine(family, torch.float32)
    assert kept.pair == 4 * more.layers * 4  # fp32, heads


def test_tokens_of_a_pass() -> None:  # promise 4
    kept = Kept(token=1e6, pair=600.0, layers=30)
    assert kept.tokens(300, 50_000, 80e9) == MOST_TOKENS and kept.tokens(300, 50_000, 0) == 1
    few, many = (kept.tokens(longest, 50_000, 8e9) for longest in (2000, 100))
    assert 1 < few < many < MOST_TOKENS
    padding, chunk = 2 * BUCKET_WASTE * kept.pair, 14 * 2048 * 50_000
    assert kept.of([100] * (many // 100)) + padding + chunk < 8e9


def scarce(monkeypatch: pytest.MonkeyPatch, most: int, late: bool = False) -> list[int]:
    """Passes of more than `most` tokens find no memory: before the forward pass, or once the backward pass has written. Returns their sizes."""
    real, seen = training_pass._pass, list[int]()

    def careful(arena: Any, parts: Any, rank: int) -> Any:
        tokens = sum(training_pass.sizes(parts))
        seen.append(tokens)
        if tokens > most and late:
            real(arena, parts, rank)
        if tokens > most:
            raise torch.OutOfMemoryError("no memory")
        return real(arena, parts, rank)

    monkeypatch.setattr(training_pass, "_pass", careful)
    return seen


@pytest.mark.parametrize("late", [False, True])
def test_a_pass_without_memory_is_halved(late: bool, as_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 5
    as_gpu()
    machine = engine()
    work = [job(i, (9, 30, 12, 7, 20), batch_size=5, epochs=2, optimizer=CALM) for i in range(3)]
    plain = machine.train(work)
    seen = scarce(monkeypatch, 40, late)
    found = machine.train(work)
    assert max(seen) > 40 and max(seen[-4:]) <= 40  # the passes after it are smaller
    for mine, theirs in zip(found, plain, strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=1e-9) and mine.tokens == theirs.tokens
        assert distance(flat(machine, mine), flat(machine, theirs)) <= 1e-9


def test_a_sequence_without_memory_fails_its_job(as_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 5
    as_gpu()
    machine = engine()
    work = [job(0, (9, 9, 9), optimizer=CALM), job(1, (8, 50, 9), optimizer=CALM)]
    [alone] = machine.train(work[:1])
    scarce(monkeypatch, 40)
    one, failed = machine.train(work)
    assert failed.adapter is None and "50 tokens" in (failed.failure or "")
    assert distance(flat(machine, one), flat(machine, alone)) <= 1e-9


@pytest.mark.parametrize("verb", ["sample", "score"])
def test_reading_without_memory_is_halved(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 5
    machine = engine(budget_tokens=10_000)
    prompts = [prose(random.Random(n), 5 + n) for n in range(9)]

    def work() -> list[Any]:
        if verb == "score":
            return [s.logprobs for s in machine.score([ScoreRequest(p, prompts[0]) for p in prompts])]
        return [c.tokens for c in machine.sample([SampleRequest(p, Sampling(3)) for p in prompts])]

    plain, real, most = work(), machine.base.forward, 30

    def careful(tokens: Tensor, *rest: Any) -> Tensor:
        if len(tokens) > most:
            raise torch.OutOfMemoryError("no memory")
        return real(tokens, *rest)

    monkeypatch.setattr(machine.base, "forward", careful)
    assert [pytest.approx(x, rel=1e-9) for x in plain] == work()
    most = 3
    with pytest.raises(EngineError, match="does not fit into the memory"):
        work()


def test_the_cache_of_a_gpu(as_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    machine = engine(dtype=torch.float32)
    assert machine.cache_tokens == CACHE_TOKENS
    head = 32 // 4
    assert token_bytes(machine.base) == machine.layers * 2 * 2 * head * 4
    assert cache_tokens(500_000, 10**9) == 600 and cache_tokens(20_000, 80 * 10**9) == 16 * CACHE_TOKENS
    as_gpu()
    machine = engine(dtype=torch.float32)
    assert machine.cache_tokens == 16 * CACHE_TOKENS
    assert engine(dtype=torch.float32, cache_tokens=2048).cache_tokens == 2048


def test_rows_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    machine, copies, real = engine(), list[tuple[list[int], list[int]]](), KVCache.copy
    machine.ends = frozenset()

    def copy(cache: KVCache, sources: Any, targets: Any, length: int | None = None) -> None:
        copies.append((list(sources), list(targets)))
        real(cache, sources, targets, length)

    monkeypatch.setattr(KVCache, "copy", copy)
    lengths = [2, 6, 2, 6, 2, 6, 6]
    requests = [SampleRequest(prose(random.Random(n), 9), Sampling(n_tokens, 0.9, seed=n)) for n, n_tokens in enumerate(lengths)]
    together = machine.sample(requests)
    moves = [set(sources) | set(targets) for sources, targets in copies]
    assert len(copies) == 1 and all(not set(s) & set(t) for s, t in copies) and moves
    assert [c.tokens for c in together] == [machine.sample([r])[0].tokens for r in requests]


# ---------------------------------------------------------------- settings


def test_weights_go_straight_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 7
    assert weights._placed("cpu") == {} == weights._placed(CPU)
    monkeypatch.setattr(weights, "find_spec", lambda name: object())
    assert weights._placed("cuda:1") == {"device_map": "cuda:1"}
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    assert weights._placed("cuda:1") == {}


@pytest.fixture
def reduced() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    yield
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = before


def test_products_add_up_in_fp32(reduced: None, as_gpu: Callable[[], None]) -> None:  # promise 8
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    engine()
    assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    as_gpu()
    engine()
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
