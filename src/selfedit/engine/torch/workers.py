"""Work on a CPU shared out to threads of one core each: products of this size gain little from more cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import torch

from selfedit.engine.torch.memory import ALLOCATOR
from selfedit.types import Progress

R = TypeVar("R")


def run_shares(
    run: Callable[[list[int], Callable[[int], None]], list[R]],
    shares: Sequence[list[int]],
    total: int,
    progress: Progress | None = None,
    together: list[int] | None = None,
) -> list[R]:
    """What `run(share, report)` gives for each share, one result for each index, in the order of the indices.

    Each share has a thread of one core; a single one, and after the others what is left to be done `together`, has the whole machine.

    A worker says with `report` how many of the `total` units it has done. When one fails, or the user stops, the others stop at their
    next report.
    """
    ALLOCATOR.begin()
    work = [*shares, together] if together else [*shares]
    done = [0] * len(work)
    stop = threading.Event()

    def report(worker: int, units: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        done[worker] = units
        ALLOCATOR.tidy()
        if progress:
            progress(sum(done), total)

    alone = len(work) - (1 if together or len(work) == 1 else 0)
    results = _side_by_side([partial(run, share, partial(report, worker)) for worker, share in enumerate(work[:alone])], stop)
    results += [run(share, partial(report, worker)) for worker, share in enumerate(work[alone:], start=alone)]
    return _in_order(work, results)


def _side_by_side(runs: Sequence[Callable[[], list[R]]], stop: threading.Event) -> list[list[R]]:
    """Each in a thread of one core. `stop` is set when one fails, or the user stops."""
    if not runs:
        return []
    before = torch.get_num_threads()
    with ThreadPoolExecutor(len(runs), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            futures = [pool.submit(run) for run in runs]
            done_or_failed, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done_or_failed:
                future.result()  # raises what made a worker fail, before the others are told to stop
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise
        finally:
            torch.set_num_threads(before)


def _in_order(shares: Sequence[list[int]], results: Sequence[list[R]]) -> list[R]:
    found = {i: result for share, its in zip(shares, results, strict=True) for i, result in zip(share, its, strict=True)}
    return [found[i] for i in sorted(found)]


def balanced_shares(costs: Sequence[int], workers: int) -> list[list[int]]:
    """Indices for each worker: the dearest first, each to the worker with least to do (LPT: Graham 1969)."""
    shares: list[list[int]] = [[] for _ in range(max(1, min(workers, len(costs))))]
    load = [0] * len(shares)
    for i in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = load.index(min(load))
        shares[least].append(i)
        load[least] += costs[i]
    return [sorted(share) for share in shares]


def contiguous_shares(costs: Sequence[int], workers: int, order: Sequence[int]) -> list[list[int]]:
    """Indices for each worker: runs of `order` of about equal cost, so that what has a beginning in common mostly stays together."""
    shares: list[list[int]] = [[]]
    room = sum(costs) / max(1, workers)
    spent = 0.0
    for i in order:
        if shares[-1] and spent + costs[i] / 2 > room * len(shares):
            shares.append([])
        shares[-1].append(i)
        spent += costs[i]
    return shares
