"""What every benchmark needs: its settings and sizes, the engine, the rows it writes."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from rich.console import Console
from rich.markup import escape

from benchmarks import machine, models
from benchmarks.data import jobs
from benchmarks.machine import Cost, Ratio
from benchmarks.table import Line, Row, rounded
from selfedit.config import Recipe
from selfedit.engine.torch.engine import Torch
from selfedit.policy import Policy
from selfedit.system.environment import cores, revision


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. Contestants whose work falls into equal pieces are timed on some of them, and the rows say on how many."""

    repetitions: int = 3
    adapters: int = 8
    sequences: int = 4
    padded_steps: int = 2
    padded_to: int = 2048
    prompts: int = 10
    new_tokens: int = 24
    edit_prompts: int = 8
    edit_samples: int = 5
    edit_tokens: int = 200
    batches: int = 1
    tasks: int = 8
    edits: int = 4
    epochs: int = 10
    exams: int = 3
    memory_adapters: int = 16
    small_jobs: tuple[int, ...] = (10, 100, 1000)
    together: tuple[int, ...] = (1, 4, 16, 64)
    vectors: int = 32
    vectors_apart: int = 2
    passages: int = 4
    questions: int = 6


FULL = Sizes()
QUICK = Sizes(
    1, 4, 2, 1, prompts=5, edit_samples=2, edit_tokens=40, tasks=2, edits=2, exams=1, memory_adapters=4, small_jobs=(10, 30), together=(1, 4),
    vectors=8, vectors_apart=1,
)  # fmt: skip
TEST = Sizes(
    1, 2, 2, 1, 96, 3, 4, 2, 2, 6, batches=1, tasks=2, edits=1, epochs=2, exams=1, memory_adapters=2, small_jobs=(2, 4), together=(1, 2),
    vectors=4, vectors_apart=2, passages=2, questions=2,
)  # fmt: skip


@dataclass
class Bench:
    """A run of benchmarks on one model and device."""

    model: str = "smollm2-135m"
    device: str = "cpu"
    seed: int = 0
    sizes: Sizes = FULL
    graphs: str = "auto"
    console: Console = field(default_factory=lambda: Console(stderr=True))
    watch: Any = None

    # ------------------------------------------------------------ the machine

    @property
    def on_gpu(self) -> bool:
        """Whether seconds are of wall clock: a GPU's work is nobody's CPU time."""
        return self.device.startswith("cuda")

    @property
    def primary(self) -> Literal["cpu_s", "wall_s"]:
        """The seconds that ratios are made of."""
        return "wall_s" if self.on_gpu else "cpu_s"

    @property
    def modes(self) -> tuple[int, ...]:
        """Threads: one, and then all the machine has."""
        return (1,) if self.on_gpu or cores() == 1 else (1, cores())

    def repetitions(self, threads: int) -> int:
        """The whole machine is shown beside, on fewer repetitions."""
        return self.sizes.repetitions if threads == 1 else max(1, self.sizes.repetitions - 1)

    @property
    def pass_tokens(self) -> int:
        """Tokens of a full pass of the engine."""
        return 8192 if self.on_gpu else 1024

    def say(self, text: str) -> None:
        """What is being measured."""
        if self.watch is not None:
            self.watch.update(escape(text))
        if not self.console.is_terminal:
            self.console.print(escape(text), highlight=False)

    # ------------------------------------------------------------ the engine and its rivals

    @cached_property
    def folder(self) -> Path:
        """Of the model."""
        return models.folder_of(self.model, self.device)

    @cached_property
    def recipe(self) -> Recipe:
        """The engine as it comes, its device aside."""
        return self._recipe()

    def _recipe(self, threads: int = 0) -> Recipe:
        engine = {"type": "torch", "device": self.device, "threads": threads, "graphs": self.graphs}
        return Recipe.model_validate({"model": str(self.folder), "seed": self.seed, "engine": engine})

    @cached_property
    def _engines(self) -> dict[int, Torch]:
        return {}

    def engine(self, threads: int) -> Torch:
        """The engine with so many threads, which everything else in this process has then too."""
        engine = self._open(threads)
        if not self.on_gpu:
            torch.set_num_threads(threads)
        return engine

    def _open(self, threads: int) -> Torch:
        """The engine, whatever number of threads this process has now."""
        if threads not in self._engines:
            engine = models.open_engine(self._recipe(0 if self.on_gpu else threads))
            engine.ends = frozenset()  # no end token: everybody writes as much
            self._engines[threads] = engine
        return self._engines[threads]

    @property
    def policy(self) -> Policy:
        """Words to tokens, as a run of selfedit puts them."""
        return Policy(self._open(1), self.recipe)

    @property
    def dtype(self) -> torch.dtype:
        """Of the engine's weights, which its rivals get too unless a row says otherwise."""
        return self._open(1).base.dtype

    @contextmanager
    def adapters(self) -> Iterator[list[Path]]:
        """Folders of a few adapters, trained a little: what they say differs from what the model says."""
        engine = self.engine(1)
        with TemporaryDirectory() as scratch:
            folders = []
            for i, trained in enumerate(engine.train(jobs(engine.tokenizer, self.sizes.adapters, 2, self.seed))):
                assert trained.adapter, trained.failure
                folders.append(Path(scratch) / f"adapter-{i}")
                engine.export(trained.adapter, folders[-1])
                engine.drop(trained.adapter)
            yield folders

    # ------------------------------------------------------------ rows

    def seconds(self, costs: Sequence[Cost]) -> list[float]:
        """The seconds that count."""
        return [getattr(cost, self.primary) for cost in costs]

    def row(self, line: Line, mine: Sequence[Cost], theirs: Sequence[Cost], units: float, unit: str, **more: Any) -> Row:
        """How many times the engine's speed is the contestant's, with both speeds; `units` of work were done in each repetition."""
        found: Ratio = machine.ratio(self.seconds(theirs), self.seconds(mine))
        if line.unit == "%":
            found = Ratio(found.value * 100, found.low * 100, found.high * 100)
        rates = [rounded(units / statistics.median(self.seconds(costs))) for costs in (mine, theirs)]
        medians = {
            f"{who}{key}": rounded(statistics.median(getattr(c, key) for c in costs))
            for who, costs in (("", mine), ("against_", theirs))
            for key in ("cpu_s", "wall_s")
        }
        facts = {
            "low": rounded(found.low),
            "high": rounded(found.high),
            "rate": rates[0],
            "against_rate": rates[1],
            "rate_unit": f"{unit}/{self.per}",
        }
        return line.row(found.value, **facts, **medians, repetitions=len(mine), **self.circumstances, **more)

    @property
    def per(self) -> str:
        """What speeds are per."""
        return "s" if self.on_gpu else "CPU-s"

    @property
    def circumstances(self) -> dict[str, Any]:
        """What a figure has to be read with."""
        return {"model": self.model, "device": self.device, "seed": self.seed, "quick": self.sizes != FULL, "revision": revision() or "unknown"}

    def whole(self, row: Row, mine: Sequence[Cost], theirs: Sequence[Cost]) -> None:
        """Enter the ratio of wall-clock seconds, everybody with the whole machine."""
        found = machine.ratio([c.wall_s for c in theirs], [c.wall_s for c in mine])
        row |= {"wall_ratio": rounded(found.value), "wall_low": rounded(found.low), "wall_high": rounded(found.high), "wall_threads": os.cpu_count()}
