"""How likely gold answers are under many adapters: the engine beside one forward pass each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from benchmarks.bench import Bench
from benchmarks.contestants import Writer, fastest
from benchmarks.data import passages
from benchmarks.machine import Cost, alternate, timed
from benchmarks.sampling import exam, load
from benchmarks.table import FORWARD, SCORING, Line, Row, rounded
from selfedit.engine.base import Engine
from selfedit.types import Score, ScoreRequest, Tokens

BATCHED = Line("scoring", SCORING, "one padded batch an adapter with PEFT", None, None)
AGREE_NATS = 0.1
"""Mean difference of an answer's log-likelihood a token at most: bf16 rounds, and the engine's passes have other shapes."""

Answers = Sequence[tuple[str, Sequence[tuple[Tokens, Tokens]]]]
"""(adapter, its questions with their gold answers)."""


def gold(bench: Bench, number: int, count: int) -> list[tuple[Tokens, Tokens]]:
    """Questions about a passage with what should be answered."""
    tokenizer = bench.policy.engine.tokenizer
    answers = [tokenizer.encode_more(q.answer) + tokenizer.end for q in passages()[number % len(passages())].questions[:count]]
    return list(zip(exam(bench, number, count), answers, strict=True))


def run(bench: Bench) -> list[Row]:
    """A forward pass a question, and a batch an adapter beside it."""
    sizes = bench.sizes
    pairs = [gold(bench, i, sizes.prompts) for i in range(sizes.adapters)]
    rows: list[Row] = []
    with bench.adapters() as folders:
        writer = Writer(bench.folder, torch.bfloat16, bench.device, folders)
        asked = list(zip(writer.names, pairs, strict=True))
        mine: list[Score] = []
        theirs: dict[Line, list[float]] = {FORWARD: [], BATCHED: []}
        for threads in bench.modes:
            engine = bench.engine(threads)
            requests = [ScoreRequest(*pair, a) for a, its in zip(load(engine, folders), pairs, strict=True) for pair in its]
            bench.say("warming up")
            if threads == 1:
                attention = fastest(writer.model, partial(apart, writer, asked[:1], bench.device, []), bench.primary)
            together(engine, requests, bench.device, mine)
            runs = {
                "engine": partial(together, engine, requests, bench.device, mine),
                FORWARD.against: partial(apart, writer, asked, bench.device, theirs[FORWARD]),
                BATCHED.against: partial(batched, writer, asked, bench.device, theirs[BATCHED]),
            }
            costs = alternate(runs, bench.repetitions(threads), bench.say)
            if threads > 1:
                for line, row in zip((FORWARD, BATCHED), rows, strict=True):
                    bench.whole(row, costs["engine"], costs[line.against])
                continue
            for line, found in theirs.items():
                differ = sum(abs(a.mean - b) for a, b in zip(mine, found, strict=True)) / len(mine)
                assert differ < AGREE_NATS, f"scores differ by {differ} nats a token: {line}"
                more = {"attention": attention, "difference_nats": rounded(differ)}
                rows.append(bench.row(line, costs["engine"], costs[line.against], len(requests), "answers", **more))
    return rows


def together(engine: Engine, requests: Sequence[ScoreRequest], device: str, scores: list[Score]) -> Cost:
    """All answers of all adapters in one call."""
    cost, found = timed(lambda: engine.score(requests), device)
    scores[:] = found
    return cost


def apart(writer: Writer, asked: Answers, device: str, scores: list[float]) -> Cost:
    """A forward pass a question; mean log-likelihoods a token."""
    cost, found = timed(lambda: [writer.logprobs([pair], name)[0] for name, pairs in asked for pair in pairs], device)
    scores[:] = [sum(each) / len(each) for each in found]
    return cost


def batched(writer: Writer, asked: Answers, device: str, scores: list[float]) -> Cost:
    """A forward pass an adapter."""
    cost, found = timed(lambda: [each for name, pairs in asked for each in writer.logprobs(pairs, name)], device)
    scores[:] = [sum(each) / len(each) for each in found]
    return cost
