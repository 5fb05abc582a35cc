"""The machine: what it is, what a piece of work costs on it, and how fast it multiplies."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F

from selfedit.system import environment

T = TypeVar("T")
LEAST_S = 0.2
"""A product is repeated for at least so long."""


def facts(device: str) -> dict[str, str]:
    """Processor, cores, memory, versions."""
    found = {key: value for key, value in environment.record().items() if key != "folder"}
    found |= {name: environment.version(name) for name in ("peft", "accelerate")}
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU, of all threads together, and of wall clock."""

    cpu_s: float = 0.0
    wall_s: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)

    def __mul__(self, times: float) -> Cost:
        """As much for so many times the work: how a part that was timed stands for a whole."""
        return Cost(self.cpu_s * times, self.wall_s * times)


def timed(work: Callable[[], T], device: str = "cpu") -> tuple[Cost, T]:
    """What one piece of work costs, and what it gives."""
    _wait(device)
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    _wait(device)
    return Cost(time.process_time() - cpu, time.perf_counter() - wall), result


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


Costs = Mapping[str, Sequence[Cost]]


def alternate(runs: Mapping[str, Callable[[], Cost]], repetitions: int, say: Callable[[str], None]) -> dict[str, list[Cost]]:
    """A B C A B C ...: neighbours on the machine trouble all contestants alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    for repetition in range(repetitions):
        for name, run in runs.items():
            say(f"{name}, {repetition + 1} of {repetitions}")
            costs[name].append(run())
    return costs


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of medians, with the lowest and highest ratio of one repetition."""

    value: float
    low: float
    high: float


def ratio(more: Sequence[float], less: Sequence[float]) -> Ratio:
    """How many times `less` goes into `more`."""
    each = [a / b for a, b in zip(more, less, strict=True)]
    return Ratio(statistics.median(more) / statistics.median(less), min(each), max(each))


# ------------------------------------------------------------ products


@dataclass(frozen=True, slots=True)
class Products:
    """FLOP a second of a model's products: the fastest alone, and all of them in their proportion."""

    best: float
    mix: float


def products(shapes: Sequence[tuple[int, int]], tokens: int, dtype: torch.dtype, device: str) -> Products:
    """Of CPU time, on a CPU. For each W (out, in): x Wᵀ as on the way forward, y W as on the way back."""
    rates: dict[tuple[int, int], tuple[float, float]] = {}
    for out, into in set(shapes):
        w = torch.randn(out, into, device=device).to(dtype)
        x, y = (torch.randn(tokens, n, device=device).to(dtype) for n in (into, out))
        flop = 2 * tokens * out * into
        rates[out, into] = (flop * _a_second(partial(F.linear, x, w), device), flop * _a_second(partial(torch.mm, y, w), device))
    seconds = sum(out * into / rate for out, into in shapes for rate in rates[out, into])
    return Products(max(map(max, rates.values())), 2 * sum(out * into for out, into in shapes) / seconds)


@torch.no_grad()
def _a_second(work: Callable[[], object], device: str) -> float:
    """How often it is done in a second, sustained."""
    work()
    times = 1
    while True:
        cost, _ = timed(partial(_repeat, work, times), device)
        seconds = cost.wall_s if device.startswith("cuda") else cost.cpu_s
        if seconds >= LEAST_S:
            return times / seconds
        times = max(times + 1, int(times * 1.3 * LEAST_S / max(seconds, 1e-4)))


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


# ------------------------------------------------------------ memory


def peak_gb(device: str = "cpu") -> float:
    """The most memory that this process has held, on a GPU there.

    Linux passes ru_maxrss on from the process that started this one, so there it is read elsewhere.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
