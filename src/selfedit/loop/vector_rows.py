"""The table of edit vectors: every row answers the report questions of the held-out documents in its own way, with the passage in view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfedit.loop.vector_ground import Ground, applied, vector_of
from selfedit.policy import Asked, Policy
from selfedit.types import Progress, Proposal, Result, SelfEdit, Task
from selfedit.vectors.gaussian import Gaussian
from selfedit.vectors.rows import Learner, VectorRow


def measure(ground: Ground, rows: Sequence[VectorRow], tasks: Sequence[Task], policies: Mapping[str, Gaussian]) -> None:
    """A row after another; each with a step of the ledger for its edits: with the basis of the run, all that is needed to make them again."""
    for row in rows:
        _measure(Rows(ground, policies), row, tasks)


@dataclass(frozen=True)
class Rows:
    """What rows are measured with: `selfedit.vectors.rows.Comparison`."""

    ground: Ground
    policies: Mapping[str, Gaussian]

    @property
    def policy(self) -> Policy:
        """The run's model."""
        return self.ground.run.policy

    @property
    def learned(self) -> Sequence[Task]:
        """Those that edits were drawn for."""
        return self.ground.train

    def edit(self, learner: Learner, task: Task) -> tuple[float, ...]:
        """By the learner's best policy."""
        return vector_of(self.ground, learner, self.policies[learner.name], task).values

    def ask(self, task: Task, question: str) -> str:
        """As edits are rewarded for it."""
        return self.policy.wording(task.title, question, task.context)


def _measure(comparison: Rows, row: VectorRow, tasks: Sequence[Task]) -> None:
    ground, name = comparison.ground, row.settings.part
    ways = [row.way(comparison, task) for task in tasks]

    def edits(_: Progress) -> list[Proposal]:
        """In the round after the last, numbered by the row's place; none where it has no edits."""
        vectors = [(task, ground.edit(np.array(way.values))) for task, way in zip(tasks, ways, strict=True) if way.values]
        return [Proposal(task.id, ground.run.recipe.rounds, row.place, 0, SelfEdit(name, (), (), vector=vector)) for task, vector in vectors]

    made = ground.run.step(f"evaluate/{name}/edits", Proposal, f"Edits of row {name}", edits)
    vectors = {one.task_id: vector for one in made if (vector := one.edit.vector)}
    different = list(dict.fromkeys(vectors.values()))

    def answers(progress: Progress) -> list[Result]:
        policy, job = comparison.policy, row.job(comparison)
        with applied(ground.run, different) as adapters, policy.adapters([job] if job else [], progress, "training failed in the comparison") as made:
            trained = made[0].adapter if made else None
            adapter_of = dict(zip(different, adapters, strict=True))
            of_task = {task_id: adapter_of[vector] for task_id, vector in vectors.items()}
            sets = [
                Asked(of_task.get(task.id, trained), task, task.report_questions, shown=task.context, before=way.before)
                for task, way in zip(tasks, ways, strict=True)
            ]
            answered = policy.answer(sets, progress)
        return [Result(name, task.id, own, job.tokens if job else 0) for task, own in zip(tasks, answered, strict=True)]

    ground.run.step(f"evaluate/{name}/0", Result, f"Asking with the passage in view ({name})", answers)
