"""Where the engine's training time goes, by torch's profiler: what a faster engine would have to do without."""

from __future__ import annotations

import re
from collections import Counter

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


def run(bench: Bench) -> list[Row]:
    """A row a kind of operation: share of the time of one thread, without what it calls. Profiling makes small operations look dearer."""
    engine = bench.engine(1)
    work = jobs(engine.tokenizer, bench.sizes.adapters, bench.sizes.sequences, bench.seed)
    bench.say("warming up: engine")
    learn(engine, work, bench.device, {})
    bench.say("profiling")
    device = ProfilerActivity.CUDA if bench.on_gpu else ProfilerActivity.CPU
    with profile(activities=[device]) as profiler:
        learn(engine, work, bench.device, {})
    shares: Counter[str] = Counter()
    for event in profiler.key_averages():
        kind = next((kind for kind, pattern in KINDS.items() if re.search(pattern, event.key)), "everything else")
        shares[kind] += event.self_device_time_total if bench.on_gpu else event.self_cpu_time_total
    total = shares.total()
    lines = [(Line("profile", f"{TRAINING}: where the time goes", kind, None, None, "%"), share) for kind, share in shares.most_common()]
    return [line.row(100 * share / total, **bench.circumstances) for line, share in lines]
