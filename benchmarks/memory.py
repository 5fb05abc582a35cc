"""Peak memory, and whether a job costs the same however many there are. Every figure comes from a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from benchmarks.bench import Bench
from benchmarks.child import Work
from benchmarks.table import FLAT, FLAT_MEMORY, MEMORY, Row, rounded


def run(bench: Bench) -> list[Row]:
    """Training 16 adapters on every linear layer, with all the machine's threads; beside it what interpreter and model take alone."""
    count = bench.sizes.memory_adapters
    alone, trained = child(bench, "open"), child(bench, "wide", count)
    more = {"model_alone_gb": rounded(alone["peak_gb"]), "adapters": count, "cpu_s": rounded(trained["cpu_s"])}
    note = f"interpreter, libraries and model alone: {alone['peak_gb']:.2f} GB"
    return [MEMORY.row(trained["peak_gb"], note=note, **more, **bench.circumstances)]


def run_jobs(bench: Bench) -> list[Row]:
    """Small jobs of one sequence, one thread, trained in chunks and dropped as a run does it."""
    counts, costs, peaks = bench.sizes.small_jobs, [], []
    for count in counts:
        found = [child(bench, "small", count, threads=1) for _ in range(bench.sizes.repetitions if count <= 100 else 1)]
        costs.append(median(f["wall_s" if bench.on_gpu else "cpu_s"] / count * 1000 for f in found))
        peaks.append(median(f["peak_gb"] for f in found))
    return [
        FLAT.row(100 * deviation(costs), **{f"ms_a_job_at_{n}": rounded(c) for n, c in zip(counts, costs, strict=True)}, **bench.circumstances),
        FLAT_MEMORY.row(100 * deviation(peaks), **{f"gb_at_{n}": rounded(p) for n, p in zip(counts, peaks, strict=True)}, **bench.circumstances),
    ]


def deviation(values: Sequence[float]) -> float:
    """Largest, from the mean and as a share of it."""
    mean = fmean(values)
    return max(abs(v - mean) for v in values) / mean


def child(bench: Bench, work: Work, count: int = 0, threads: int = 0) -> dict[str, float]:
    """One process from beginning to end."""
    bench.say(f"a process of its own: {work} {count or ''}".strip())
    arguments = ["--work", work, "--model", str(bench.folder), "--device", bench.device, "--count", str(count), "--seed", str(bench.seed)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", *arguments, "--threads", str(threads)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.child failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
