"""A process of its own whose memory is measured: it opens the engine, does one piece of work, and prints what it took as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import tyro

from selfedit.engine.base import Engine
from selfedit.system.process import tune
from selfedit.types import TrainJob

Work = Literal["open", "wide", "small"]


@dataclass(frozen=True)
class Child:
    """Open the model; train adapters on all linear layers; or train small jobs in chunks, as a run does."""

    work: Work
    model: Path
    device: str = "cpu"
    threads: int = 0
    count: int = 0
    seed: int = 0


def main() -> None:
    """Do it and say what it took."""
    child = tyro.cli(Child)
    tune()  # before torch loads
    from benchmarks.models import open_engine
    from selfedit.config import Recipe

    settings = {"type": "torch", "device": child.device, "threads": child.threads}
    recipe = Recipe.model_validate({"model": str(child.model), "seed": child.seed, "engine": settings})
    engine = open_engine(recipe)
    from benchmarks.data import SMALL, WIDE, job, jobs, statements
    from benchmarks.machine import Cost, peak_gb, timed

    cost = Cost()
    if child.work == "wide":
        work = jobs(engine.tokenizer, child.count, 2, child.seed, WIDE)
        cost, trained = timed(lambda: engine.train(work), child.device)
        assert all(t.adapter for t in trained)
    if child.work == "small":
        size = recipe.chunk
        small = [job([text], child.seed + i, SMALL) for i, text in enumerate(statements(engine.tokenizer, child.count + 2 * size))]
        _train(engine, small[child.count :])  # every length once: what is compiled for a shape is compiled now
        for start in range(0, child.count, size):
            part = small[start : min(start + size, child.count)]
            cost += timed(partial(_train, engine, part), child.device)[0]
    print(json.dumps({"cpu_s": cost.cpu_s, "wall_s": cost.wall_s, "peak_gb": peak_gb(child.device)}))


def _train(engine: Engine, work: Sequence[TrainJob]) -> None:
    """Train and forget."""
    for trained in engine.train(work):
        assert trained.adapter, trained.failure
        engine.drop(trained.adapter)


if __name__ == "__main__":
    main()
