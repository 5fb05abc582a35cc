"""Knowledge by training and skill by vector, together: questions about passages that are not in view, in five ways.

python combine.py squad_dev.jsonl --run out/seed-0 --out out --passages 20

An adapter is trained on a self-edit of each passage (`data`); the mean edit that `run.py` learned on other passages is added to the model's weights
(`vector`); after learning, both (`data_and_vector`, as PaST adds its skill vector), or before (`vector_then_data`).
Writes results-combined.json: F1 with 95 % intervals over passages, and paired differences.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfedit.config import parse_recipe
from selfedit.disk import write_atomically
from selfedit.ledger.reader import runs
from selfedit.policy import Asked, Policy
from selfedit.policy.opening import open_policy
from selfedit.policy.proposing import propose
from selfedit.store.artifacts import adapter_of
from selfedit.study.statistics import interval, paired_difference
from selfedit.system.process import tune
from selfedit.tasks.knowledge.documents import read_documents
from selfedit.text import judge_answer
from selfedit.types import Adapter, Task, TrainJob

DEFAULT = "data"


@contextmanager
def added(policy: Policy, vector: Path | None) -> Iterator[None]:
    """The model with the edit in its weights; afterwards as it was."""
    if vector:
        policy.merge(vector)
    try:
        yield
    finally:
        policy.reset()


def asked(policy: Policy, tasks: Sequence[Task], adapters: Sequence[Adapter | None]) -> list[list[float]]:
    """F1 of the answers to every passage's questions, the passage not in view."""
    sets = [Asked(adapter, task, task.report_questions) for adapter, task in zip(adapters, tasks, strict=True)]
    return [[judge_answer(one.prediction, one.question.golds).f1 for one in answers] for answers in policy.answer(sets)]


def measured(policy: Policy, tasks: Sequence[Task], jobs: Sequence[TrainJob], vector: Path) -> dict[str, list[list[float]]]:
    """Every way."""
    nothing: list[Adapter | None] = [None] * len(tasks)
    found = {"untouched": asked(policy, tasks, nothing)}
    with added(policy, vector):
        found["vector"] = asked(policy, tasks, nothing)
    with policy.adapters(jobs) as trained:
        adapters = [one.adapter for one in trained]
        found["data"] = asked(policy, tasks, adapters)
        with added(policy, vector):
            found["data_and_vector"] = asked(policy, tasks, adapters)
    with added(policy, vector), policy.adapters(jobs) as trained:
        found["vector_then_data"] = asked(policy, tasks, [one.adapter for one in trained])
    return found


def as_results(found: dict[str, list[list[float]]]) -> dict[str, list[dict[str, Any]]]:
    """Rows, and what each has over the ways with less."""

    def bounds(one: Any) -> dict[str, float]:
        return {"mean": one.mean, "low": one.low, "high": one.high}

    rows = [{"name": name, **bounds(interval(groups)), "n": sum(map(len, groups)), "seeds": 1} for name, groups in found.items()]
    pairs = [(of, over) for of in found for over in ("untouched", DEFAULT) if of != over]
    return {"rows": rows, "differences": [{"of": of, "over": over, **bounds(paired_difference(found[of], found[over]))} for of, over in pairs]}


def main(argv: Sequence[str] | None = None, open_: Callable[..., Policy] = open_policy) -> None:
    """All ways on so many passages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("held_out", type=Path, help="passages that the edit was not learned on")
    parser.add_argument("--run", type=Path, required=True, help="the folder of a seed, with its run")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--passages", type=int, default=20)
    args = parser.parse_args(argv)
    [run] = [one for one in runs(args.run) if one.status == "finished"]
    vector = adapter_of(args.run / run.id)
    tune()
    policy = open_(parse_recipe({"model": run.model, "propose": {"candidates": 1}, "questions": {"report_share": 0.8}}))
    passages = [replace(one, id=str(n)) for n, one in enumerate(read_documents([args.held_out], policy.recipe.documents, print)[: args.passages])]
    tasks = policy.domain.tasks(policy, passages, "heldout", lambda done, of: None)
    edits = propose(policy, tasks, 0, policy.recipe.propose)
    jobs = [policy.job(one.edit.examples, policy.inner_seed(one, 0)) for one in edits]
    results = as_results(measured(policy, tasks, jobs, vector))
    write_atomically(args.out / "results-combined.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
    for row in results["rows"]:
        print(f"{row['name']:<18} F1 {100 * row['mean']:5.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})", flush=True)


if __name__ == "__main__":
    main()
