"""From one adapter to many, made for a GPU: one sequence of each adapter a step, where launches cost most, and so many that the device is full."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch

from benchmarks import machine, models
from benchmarks.bench import Bench
from benchmarks.contestants import Learner
from benchmarks.data import LORA, job, sequences
from benchmarks.machine import Cost, alternate
from benchmarks.table import Line, Row, rounded
from benchmarks.training import learn
from selfedit.engine.torch.engine import Torch, pick_dtype
from selfedit.types import TrainJob

AGAINST = "Trainer + PEFT, bf16, no padding but that of a batch"
STEPS = 4
SATURATED = 16
"""Sequences of a step where the device is to be full."""
WORKLOADS = {"one sequence a step": 1, f"saturated: {SATURATED} sequences a step": SATURATED}


def run(bench: Bench) -> list[Row]:
    """A row for each number of adapters and each workload. The contestant trains one adapter after another; one is timed and stands for all.

    It comes first and is gone when the engine opens: two copies of a large model may not fit. Nobody else uses a GPU meanwhile.
    """
    layers = models.linear_layers(bench.folder)
    rate = machine.products(list(layers.values()), bench.pass_tokens, pick_dtype("auto", torch.device(bench.device)), bench.device)
    sizes = {name: size if bench.sizes.repetitions > 1 else min(size, 2) for name, size in WORKLOADS.items()}
    theirs = {name: contestant(bench, size) for name, size in sizes.items()}
    engine, rows = bench.engine(1), []
    for name, size in sizes.items():
        for count in bench.sizes.together:
            work = adapters(bench, count, size)
            tokens, first = (sum(len(d.tokens) for each in some for d in each.data) for some in (work, work[:1]))
            line = Line("together", f"training {count} adapters, {name}", AGAINST, None, None)
            with slots(engine, count):
                bench.say(f"warming up: {line.work}")
                learn(engine, work, bench.device, {})
                mine = alternate({"engine": partial(learn, engine, work, bench.device, {})}, bench.sizes.repetitions, bench.say)["engine"]
            used = tokens * models.flop_a_token(layers, LORA) / statistics.median(bench.seconds(mine))
            more = {
                "adapters": count,
                "utilisation": rounded(used / rate.best),
                "tflops": rounded(used / 1e12),
                "best_tflops": rounded(rate.best / 1e12),
            }
            if theirs[name]:
                costs = [cost * (tokens / first) for cost in theirs[name]]
                rows.append(bench.row(line, mine, costs, tokens, "tok", note=f"one adapter of {count} timed", **more))
            else:
                seconds = statistics.median(bench.seconds(mine))
                alone = replace(line, against="alone: Trainer + PEFT has no memory for it", unit=f"tok/{bench.per}")
                rows.append(alone.row(tokens / seconds, **more, **bench.circumstances))
    return rows


def contestant(bench: Bench, size: int) -> list[Cost]:
    """What the first adapter costs with Trainer + PEFT, once a repetition; nothing where the device has no memory for it."""
    learner = Learner(bench.folder, torch.bfloat16, bench.device, LORA)
    learner.model.set_attn_implementation("sdpa")
    [work] = adapters(bench, 1, size)
    try:
        bench.say(f"warming up: {AGAINST}")
        learner.train(work)
        return [learner.train(work)[0] for _ in range(bench.sizes.repetitions)]
    except torch.OutOfMemoryError:
        return []
    finally:
        del learner
        gc.collect()
        torch.cuda.empty_cache()  # nothing happens where no GPU is in use


@contextmanager
def slots(engine: Torch, count: int) -> Iterator[None]:
    """At least so many adapters train at the same time."""
    before = engine.settings
    engine.settings = before.model_copy(update={"slots": max(before.slots, count)})
    try:
        yield
    finally:
        engine.settings = before


def adapters(bench: Bench, count: int, size: int) -> list[TrainJob]:
    """Jobs of a few steps each; the first are the same whatever their number."""
    each = STEPS * size
    drawn = sequences(models.tokenizer_of(bench.folder), count * each, bench.seed)
    return [job(drawn[i * each : (i + 1) * each], bench.seed + i, batch_size=size) for i in range(count)]
