"""One benchmark after another, each written down when it is finished."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

from rich.console import Console

from benchmarks import machine, memory, page, profile, sampling, scoring, table, together, training, vectors, whole_round
from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.command import Command
from benchmarks.table import Row

BENCHMARKS: dict[str, Callable[[Bench], list[Row]]] = {
    "training": training.run,
    "sampling": sampling.run,
    "edits": sampling.run_edits,
    "scoring": scoring.run,
    "vectors": vectors.run,
    "round": whole_round.run,
    "memory": memory.run,
    "jobs": memory.run_jobs,
    "profile": profile.run,
    "together": together.run,
}
ASKED_FOR = ("together",)
"""Made for a GPU: elsewhere only where it is asked for."""


def run(command: Command) -> None:
    """All that a command asks for, and the table of everything that was ever measured into its file."""
    wanted = command.only.split(",") if command.only else [name for name in BENCHMARKS if name not in ASKED_FOR or command.device != "cpu"]
    if unknown := [name for name in wanted if name not in BENCHMARKS]:
        sys.exit(f"no benchmark '{unknown[0]}'; there are {', '.join(BENCHMARKS)}")
    console = Console(stderr=True)
    bench = Bench(command.model, command.device, command.seed, QUICK if command.quick else FULL, command.graphs, console)
    with console.status("starting") as bench.watch:
        for name in wanted:
            console.rule(name)
            table.merge(command.results, machine.facts(command.device), BENCHMARKS[name](bench))
            if command.results == page.RESULTS:
                page.write()
            gc.collect()
    Console(width=None if sys.stdout.isatty() else 200).print(table.table(table.read(command.results)[1]))
