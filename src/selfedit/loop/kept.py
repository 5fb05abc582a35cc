"""The best self-edit of each passage in a round of `train`, and the adapters that were trained on them: what vectors are added to, and what answers
fresh questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfedit.algorithms.rest_em import best
from selfedit.loop.harvest import harvest, learned
from selfedit.loop.round import trained_on
from selfedit.loop.run import Run
from selfedit.policy.shelf import Shelf
from selfedit.types import Harvested, Proposal, Round, Task, TrainJob


@dataclass(frozen=True)
class Kept:
    """The `tasks` of a round that have a scored self-edit, the best of each by reward, and the trainings of their adapters, all by task.

    The adapters are on the `shelf`, as far as there was room; the others are trained again, to the same bits.
    """

    number: int
    tasks: Sequence[Task]
    edits: Mapping[str, Proposal]
    jobs: Mapping[str, TrainJob]
    shelf: Shelf


def kept_of(run: Run, tasks_P: Sequence[Task], round_: Round, shelf: Shelf) -> Kept:
    """What is kept of a round of P tasks: for each the self-edit with the highest reward."""
    policy, epochs = run.policy, run.recipe.open("prefilter").epochs
    chosen = Round(round_.number, round_.candidates, tuple(best(round_.candidates, 1))).chosen
    edits = {one.task_id: one for one in chosen}
    tasks = [task for task in tasks_P if task.id in edits]
    jobs = {
        task.id: policy.job(trained_on(policy, task, one.edit), policy.inner_seed(one, 0), one.edit.directives, epochs)
        for task in tasks
        for one in [edits[task.id]]
    }
    return Kept(round_.number, tasks, edits, jobs, shelf)


def gather(run: Run, kept: Kept) -> None:
    """What the kept adapters answer to fresh questions, as far as it holds, is trained on in all later rounds, beside what the policy writes."""
    title = "Harvesting what the adapters answer to fresh questions"
    name, gathered = f"round-{kept.number}/harvest", run.policy.gathered
    found = run.step(name, Harvested, title, lambda progress: harvest(run, kept.jobs, kept.tasks, kept.shelf, progress, kept.number))
    for task in kept.tasks:
        gathered[task.id] = tuple(dict.fromkeys((*gathered.get(task.id, ()), *learned(run, found, task))))
    run.watch.say(f"{sum(one.used for one in found)} of {sum(not one.known for one in found)} answers to fresh questions are learned from now on")
