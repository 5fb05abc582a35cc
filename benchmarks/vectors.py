"""How likely gold answers are under many edit vectors: the engine, all in one call, beside PEFT's TinyLoRA, one after another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from benchmarks.bench import Bench
from benchmarks.contestants import TinyLora, fastest
from benchmarks.data import passages
from benchmarks.machine import Cost, alternate, timed
from benchmarks.scoring import AGREE_NATS
from benchmarks.table import Line, Row, rounded
from selfedit.config import packaged_for
from selfedit.engine.torch.engine import Torch
from selfedit.types import Score, ScoreRequest, Tokens, VectorEdit

Pairs = Sequence[tuple[Tokens, Tokens]]
SIX = "scoring 32 edit vectors of six layers, 6 answers each with the passage in view"
UPPER = "scoring 32 edit vectors of three layers in the last third, 6 answers each with the passage in view"
APART = "PEFT's TinyLoRA, one vector and answer at a time"
BATCHED = "PEFT's TinyLoRA, one vector at a time, its answers as one padded batch"


def run(bench: Bench) -> list[Row]:
    """With the layers that a recipe has by default, from the fifth on, and with three of the last third."""
    recipe = packaged_for(["vector"])
    assert recipe is not None
    inner, count = recipe.open("inner"), bench.engine(1).layers
    upper = tuple(sorted({2 * count // 3, 5 * count // 6, count - 1}))
    works = ((SIX, inner.layers(count)), (UPPER, upper))
    return [row for work, layers in works for row in measured(bench, work, drawn(bench, layers, inner.settings.rank, inner.settings.width))]


def drawn(bench: Bench, layers: tuple[int, ...], rank: int, width: int) -> list[VectorEdit]:
    """Edits as a policy draws them, louder."""
    rng = random.Random(bench.seed)
    return [
        VectorEdit(bench.seed, layers, rank, width, tuple(rng.gauss(0, 0.3) for _ in range(len(layers) * width))) for _ in range(bench.sizes.vectors)
    ]


def gold(bench: Bench) -> list[Pairs]:
    """Questions about each of a few passages with the passage in view, and what should be answered."""
    policy = bench.policy
    found = passages()[: bench.sizes.passages]
    asked = [(p, p.questions[: bench.sizes.questions]) for p in found]
    return [[(policy.question(p.title, q.question, p.context), policy.render.reply(q.answer)) for q in some] for p, some in asked]


def measured(bench: Bench, work: str, edits: Sequence[VectorEdit]) -> list[Row]:
    """A forward pass an answer, and a batch a vector beside it; both are timed on a few of the edits, which all cost the same."""
    sizes, pairs = bench.sizes, gold(bench)
    asked = [(edit, pairs[i % len(pairs)]) for i, edit in enumerate(edits)]
    some, times = asked[: sizes.vectors_apart], len(asked) / sizes.vectors_apart
    contestant = TinyLora(bench.folder, bench.dtype, bench.device, edits[0], bench.engine(1).bases)
    attention = fastest(contestant.model, lambda: apart(contestant, some[:1], bench.device, []), bench.primary)
    mine, theirs = list[Score](), list[float]()
    rows: list[Row] = []
    for threads in bench.modes:
        engine = bench.engine(threads)
        bench.say("warming up")
        together(engine, asked[: sizes.vectors_apart], bench.device, [])
        runs = {
            "engine": partial(together, engine, asked, bench.device, mine),
            APART: lambda: apart(contestant, some, bench.device, theirs) * times,
            BATCHED: lambda: batched(contestant, some, bench.device) * times,
        }
        costs = alternate(runs, bench.repetitions(threads), bench.say)
        if threads > 1:
            for row, name in zip(rows, (APART, BATCHED), strict=True):
                bench.whole(row, costs["engine"], costs[name])
            continue
        differ = sum(abs(a.mean - b) for a, b in zip(mine, theirs, strict=False)) / len(theirs)
        assert differ < AGREE_NATS, f"scores differ by {differ} nats a token: {work}"
        more = {"attention": attention, "difference_nats": rounded(differ), "timed_vectors": len(some)}
        both = [Line("vectors", work, against, None, None) for against in (APART, BATCHED)]
        rows = [bench.row(one, costs["engine"], costs[one.against], len(asked), "vectors", **more) for one in both]
    return rows


def together(engine: Torch, asked: Sequence[tuple[VectorEdit, Pairs]], device: str, scores: list[Score]) -> Cost:
    """All edits made, all answers scored in one call, all edits dropped."""

    def work() -> list[Score]:
        adapters = [engine.make(edit) for edit, _ in asked]
        found = engine.score([ScoreRequest(*pair, adapter) for adapter, (_, pairs) in zip(adapters, asked, strict=True) for pair in pairs])
        for adapter in adapters:
            engine.drop(adapter)
        return found

    cost, scores[:] = timed(work, device)
    return cost


def apart(contestant: TinyLora, asked: Sequence[tuple[VectorEdit, Pairs]], device: str, scores: list[float]) -> Cost:
    """A forward pass an answer; mean log-likelihoods a token."""
    cost, found = timed(lambda: [contestant.under(edit).logprobs([pair])[0] for edit, pairs in asked for pair in pairs], device)
    scores[:] = [sum(each) / len(each) for each in found]
    return cost


def batched(contestant: TinyLora, asked: Sequence[tuple[VectorEdit, Pairs]], device: str) -> Cost:
    """A forward pass a vector."""
    return timed(lambda: [contestant.under(edit).logprobs(pairs) for edit, pairs in asked], device)[0]
