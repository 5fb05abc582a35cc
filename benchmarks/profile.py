"""Where the engine's training time goes, by torch's profiler: what a faster engine would have to do without."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.bench import Bench
from benchmarks.data import jobs
from benchmarks.table import TRAINING, Line, Row
from benchmarks.training import learn

KINDS = {
    "matrix products": r"aten::(add|b|badd|_)*mm\b|aten::linear|mkldnn.*linear|aten::matmul",
    "activation, norms and other arithmetic": r"aten::(mul|add|sub|div|neg|pow|mean|rsqrt|silu|gelu|sigmoid|cos|sin|sum|native_layer_norm|rms_norm)",
    "softmax and exponentials": r"softmax|aten::(exp|log|logsumexp|amax|max)",
    "copies and conversions": r"aten::(copy_|_to_copy|clone|cat|index|gather|scatter|fill_|zero_|zeros|masked|contiguous|embedding)",
    "optimizer": r"adam|aten::(norm|linalg_vector_norm|_foreach)",
}
"""The first that fits an operation's name takes its time."""


def by_kind(events: Iterable[Any], on_gpu: bool) -> Counter[str]:
    """Time of each kind of operation, without what it calls. On a GPU it is that of the kernels that an operation launched: these are events
    too, under names of their own, and not counted again."""
    shares: Counter[str] = Counter()
    for event in events:
        if event.device_type == DeviceType.CPU:
            kind = next((kind for kind, pattern in KINDS.items() if re.search(pattern, event.key)), "everything else")
            shares[kind] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    return shares


def run(bench: Bench) -> list[Row]:
    """A row a kind of operation: share of the time of one thread, without what it calls. Profiling makes small operations look dearer."""
    engine = bench.engine(1)
    work = jobs(engine.tokenizer, bench.sizes.adapters, bench.sizes.sequences, bench.seed)
    bench.say("warming up: engine")
    learn(engine, work, bench.device, {})
    bench.say("profiling")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.on_gpu else [])]
    with profile(activities=activities) as profiler:
        learn(engine, work, bench.device, {})
    shares = by_kind(profiler.key_averages(), bench.on_gpu)
    total = shares.total()
    lines = [(Line("profile", f"{TRAINING}: where the time goes", kind, None, None, "%"), share) for kind, share in shares.most_common()]
    return [line.row(100 * share / total, **bench.circumstances) for line, share in lines]
