"""The table of edit vectors: every row answers the report questions of the held-out documents in its own way, with the passage in view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from selfedit.grouping import grouped
from selfedit.loop.vector_ground import Ground, applied, questions_of, scored, vector_of
from selfedit.policy import Asked, Policy
from selfedit.types import Candidate, Progress, Proposal, Result, SelfEdit, Task
from selfedit.vectors.gaussian import Gaussian
from selfedit.vectors.rows import Learner, VectorRow

STEP = "step"
"""What the ledger calls gradient steps that are tried for their size."""
SIZES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
"""Numbers of which each, in every place of an edit, is tried as a gradient step."""


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

    def step(self) -> tuple[float, ...]:
        """Found once for all documents; where no passages are kept for validation, by those that edits were learned on."""
        ground, last = self.ground, self.ground.run.recipe.rounds
        tasks = ground.validation or ground.train
        asked = {task.id: questions_of(ground, task, -1, 2) for task in tasks}
        steps = [ground.edit(np.full(ground.d, size)) for size in SIZES]

        def tried(_: Progress) -> list[Proposal]:
            edits = [SelfEdit(STEP, (), (), vector=vector) for vector in steps]
            return [Proposal(task.id, last, n, 0, edit) for n, edit in enumerate(edits) for task in tasks]

        edits = ground.run.step("evaluate/step/edits", Proposal, "Gradient steps of several sizes", tried)
        title = "Looking for the best size of a gradient step"
        found = ground.run.step("evaluate/step/candidates", Candidate, title, lambda shown: scored(ground, edits, asked, shown))
        values = grouped((one.proposal.index, -np.inf if one.reward.value is None else one.reward.value) for one in found)
        return steps[max(values, key=lambda n: fmean(values[n]))].values

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
