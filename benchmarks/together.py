"""From one adapter to many, made for a GPU: one sequence of each adapter a step, where launches cost most, and so many that the device is full."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

import torch

from benchmarks import machine, models
from benchmarks.bench import Bench
from benchmarks.contestants import Learner
from benchmarks.data import LORA, job, sequences
from benchmarks.machine import Cost, alternate
from benchmarks.table import Line, Row, rounded
from benchmarks.training import learn
from selfedit.types import TrainJob

STEPS = 4
SATURATED = 16
"""Sequences of a step where the device is to be full."""
WORKLOADS = {"one sequence a step": 1, f"saturated: {SATURATED} sequences a step": SATURATED}


def run(bench: Bench) -> list[Row]:
    """A row for each number of adapters and each workload. The contestant trains one adapter after another; one is timed and stands for all."""
    layers = models.linear_layers(bench.folder)
    rate = machine.products(list(layers.values()), bench.pass_tokens, bench.dtype, bench.device)
    learner = Learner(bench.folder, torch.bfloat16, bench.device, LORA)
    learner.model.set_attn_implementation("sdpa")
    rows = []
    for name, size in WORKLOADS.items():
        for count in bench.sizes.together:
            work = adapters(bench, count, size if bench.sizes.repetitions > 1 else min(size, 2))
            tokens = sum(len(d.tokens) for each in work for d in each.data)
            line = Line("together", f"training {count} adapters, {name}", "Trainer + PEFT, bf16, no padding but that of a batch", None, None)
            engine = bench.engine(1)
            slots = engine.settings.slots
            engine.settings = engine.settings.model_copy(update={"slots": max(slots, count)})
            runs = {"engine": partial(learn, engine, work, bench.device, {}), line.against: partial(one, learner, work)}
            bench.say(f"warming up: {line.work}")
            for warm in runs.values():
                warm()
            costs = alternate(runs, bench.sizes.repetitions, bench.say)
            engine.settings = engine.settings.model_copy(update={"slots": slots})
            seconds = statistics.median(bench.seconds(costs["engine"]))
            used = tokens * models.flop_a_token(layers, LORA) / seconds
            more = {
                "adapters": count,
                "utilisation": rounded(used / rate.best),
                "tflops": rounded(used / 1e12),
                "best_tflops": rounded(rate.best / 1e12),
            }
            rows.append(bench.row(line, costs["engine"], costs[line.against], tokens, "tok", note=f"one adapter of {count} timed", **more))
    return rows


def adapters(bench: Bench, count: int, size: int) -> list[TrainJob]:
    """Jobs of a few steps each."""
    drawn = sequences(bench.engine(1).tokenizer, count * STEPS * size, bench.seed)
    each = STEPS * size
    return [job(drawn[i * each : (i + 1) * each], bench.seed + i, batch_size=size) for i in range(count)]


def one(learner: Learner, work: Sequence[TrainJob]) -> Cost:
    """The first adapter, counted by tokens."""
    total, first = (sum(len(d.tokens) for each in some for d in each.data) for some in (work, work[:1]))
    return learner.train(work[0])[0] * (total / first)
