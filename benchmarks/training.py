"""Training many adapters: the engine beside Trainer + PEFT, and beside what the machine's products allow."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from benchmarks import machine, models
from benchmarks.bench import Bench
from benchmarks.contestants import Learner, fastest
from benchmarks.data import LORA, jobs
from benchmarks.machine import Cost, Products, alternate, timed
from benchmarks.table import ARITHMETIC, BF16, FP32, PADDED, Line, Row, rounded
from selfedit.engine.base import Engine
from selfedit.types import TrainJob

AGREE = 0.1
"""Relative difference of mean losses at most, else the contestants do not do the same work."""
SQUARE = 4096


def run(bench: Bench) -> list[Row]:
    """Four rows, one a contestant."""
    work = jobs(bench.policy.engine.tokenizer, bench.sizes.adapters, bench.sizes.sequences, bench.seed)
    tokens = sum(len(d.tokens) for job in work for d in job.data)
    types = {PADDED: torch.bfloat16, FP32: torch.float32, BF16: torch.bfloat16}
    rivals = {line: Learner(bench.folder, dtype, bench.device, LORA) for line, dtype in types.items()}
    attentions: dict[Line, str] = {}
    losses: dict[str, float] = {}
    rows: dict[Line, Row] = {}
    for threads in bench.modes:
        engine = bench.engine(threads)
        rates: list[Products] = []
        runs = {"engine": partial(learn, engine, work, bench.device, losses)}
        for line, learner in rivals.items():
            bench.say(f"warming up: {line.against}")
            once = partial(rival, learner, line, work[:1], bench, {})
            if threads == 1:
                attentions[line] = "sdpa" if line is PADDED else fastest(learner.model, once, bench.primary)  # eager keeps 7 GB of weights at 2048
            runs[line.against] = partial(rival, learner, line, work, bench, losses)
        if threads == 1:
            runs[ARITHMETIC.against] = partial(limit, bench, tokens, rates)
        bench.say("warming up: engine")
        learn(engine, work, bench.device, {})
        costs = alternate(runs, bench.repetitions(threads), bench.say)
        if threads > 1:
            for line in rivals:
                bench.whole(rows[line], costs["engine"], costs[line.against])
            continue
        for line in rivals:
            more = {"attention": attentions[line], "loss": rounded(losses["engine"]), "against_loss": rounded(losses[line.against])}
            note = f"{bench.sizes.padded_steps} steps timed, {sum(len(j.data) for j in work)} counted" if line is PADDED else ""
            rows[line] = bench.row(line, costs["engine"], costs[line.against], tokens, "tok", note=note, **more)
        rows[ARITHMETIC] = bench.row(ARITHMETIC, costs["engine"], costs[ARITHMETIC.against], tokens, "tok", **products(bench, rates))
    for line in (FP32, BF16):
        assert abs(losses["engine"] / losses[line.against] - 1) < AGREE, f"mean losses differ: engine {losses['engine']}, {line.against} {losses}"
    return list(rows.values())


def learn(engine: Engine, work: Sequence[TrainJob], device: str, losses: dict[str, float]) -> Cost:
    """All jobs in one call; what it costs, allocating the slots included."""
    cost, trained = timed(lambda: engine.train(work), device)
    for t in trained:
        assert t.adapter, t.failure
        engine.drop(t.adapter)
    losses["engine"] = statistics.fmean(itertools.chain.from_iterable(t.losses for t in trained))
    return cost


def rival(learner: Learner, line: Line, work: Sequence[TrainJob], bench: Bench, losses: dict[str, float]) -> Cost:
    """One adapter after another. A padded step costs the same whatever is in it, so a few of the first job's stand for all."""
    if line is PADDED:
        steps = bench.sizes.padded_steps
        cost, losses[line.against] = learner.train(work[0], bench.sizes.padded_to, steps)
        return cost * (sum(job.epochs * len(job.data) for job in work) / steps)
    done = [learner.train(job) for job in work]
    losses[line.against] = statistics.fmean(loss for _, loss in done)
    return sum((cost for cost, _ in done), Cost())


def limit(bench: Bench, tokens: int, rates: list[Products]) -> Cost:
    """What the tokens would cost if nothing but products were done, at the rate of the fastest of the model's own in a full pass."""
    layers = models.linear_layers(bench.folder)
    rates.append(machine.products(list(layers.values()), bench.pass_tokens, bench.dtype, bench.device))
    seconds = tokens * models.flop_a_token(layers, LORA) / rates[-1].best
    return Cost(seconds, seconds)


def products(bench: Bench, rates: Sequence[Products]) -> dict[str, Any]:
    """The rates behind the limit, GFLOP/s: the fastest product, all in their proportion, and a big square one beside them."""
    square = machine.products([(SQUARE, SQUARE)], bench.pass_tokens, bench.dtype, bench.device)
    found = {"products_gflops": [r.best for r in rates], "products_mix_gflops": [r.mix for r in rates], "square_gflops": [square.best]}
    mflop = rounded(models.flop_a_token(models.linear_layers(bench.folder), LORA) / 1e6)
    note = f"products of {bench.pass_tokens} rows; the square matrix has {SQUARE} x {SQUARE}"
    return {name: rounded(statistics.median(each) / 1e9) for name, each in found.items()} | {"mflop_a_token": mflop, "note": note}
