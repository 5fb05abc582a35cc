"""`selfedit train --edits data,vector`: beside the policy that writes self-edits, another learns edit vectors that are added to the adapters.

They take turns. In a round the policy writes, adapters are trained and scored, and the best of each passage is kept. Then edit vectors are drawn
for these passages; each is added to the adapter of its passage, the ranks of both side by side. What the sum gains over the adapter alone, by the
recipe's reward, is what the policy of vectors learns from, by the recipe's algorithm. The passage is not in view. Read `turn` first.

Shapes: P passages, K vectors a passage, d numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selfedit.errors import EngineError
from selfedit.loop.evaluate import STRIDE, vector_rows
from selfedit.loop.harvest import adapters_of
from selfedit.loop.kept import Kept
from selfedit.loop.run import Run
from selfedit.loop.vector_basis import basis_of
from selfedit.loop.vector_ground import Ground, answered, features_of, questions_of, scored, vector_of
from selfedit.loop.vectors import begun, exported, metrics_of
from selfedit.policy import Asked
from selfedit.types import Candidate, Progress, Proposal, SelfEdit, Task, Update, VectorEdit
from selfedit.vectors import gaussian
from selfedit.vectors.gaussian import Draws, Learned
from selfedit.vectors.rows import Learner

STRATEGY = "vector"
"""What the ledger calls these self-edits, as others are called by how they were written."""
LEARNER = Learner(STRATEGY, contextual=True)


@dataclass(frozen=True)
class OnTop:
    """The policy of vectors, and what it learns on."""

    ground: Ground
    now: Learned


def begin_on_top(run: Run, tasks: Sequence[Task], exams: Sequence[Task]) -> OnTop | None:
    """The policy of vectors before the first round: every vector is zero. None where the recipe adds none."""
    added = run.recipe.added
    if added is None:
        return None
    features = features_of(run, tasks, [*tasks, *exams], added.settings.features)
    layers = added.layers(run.policy.engine.layers)
    ground = Ground(run, tasks, (), features, {}, (), (), layers, basis_of(run, added.settings, tasks, layers, shown=False), under={})
    return OnTop(ground, begun(ground, LEARNER))


def turn(top: OnTop, kept: Kept) -> OnTop:
    """Draw K vectors for each passage, add each to the passage's adapter, score, drop; then the policy of vectors moves."""
    if not kept.tasks:
        return top
    ground, run, number = top.ground, top.ground.run, kept.number
    algorithm, K = run.recipe.open("algorithm"), int(ground.settings.candidates)
    drawn = {task.id: gaussian.draw(top.now.policy, ground.of(LEARNER, task), K, _seed(run, number, task)) for task in kept.tasks}
    edits = run.step(f"round-{number}/vector/edits", Proposal, "Drawing edit vectors", lambda _: _proposals(ground, kept, drawn))
    candidates = _scored(ground, kept, edits)
    if all(one.reward.value is None for one in candidates):
        raise EngineError(f"no edit vector of round {number + 1} could be scored: {candidates[0].reward.reason}; lower vector.sigma")
    rewards = {task.id: np.array([_value(one) for one in candidates if one.proposal.task_id == task.id]) for task in kept.tasks}
    groups = [replace(drawn[task.id], rewards=rewards[task.id]) for task in kept.tasks]
    progress = number / max(1, run.recipe.rounds - 1)
    after = OnTop(ground, gaussian.update(top.now, groups, algorithm.weigh, algorithm.passes, ground.schedule, progress))
    title = "Learning to make edit vectors"
    run.step(f"round-{number}/vector/update", Update, title, lambda _: [_described(after, number, algorithm.settings.part, groups)])
    return after


def measure_on_top(top: OnTop, exams: Sequence[Task], number: int, name: str, strategy: str) -> None:
    """The rows of vectors on the held-out documents, beside row `name` of the policy after `number` updates; the mean vector stays in the folder."""
    ground, run = top.ground, top.ground.run

    def edits(_: Progress) -> list[Proposal]:
        """Numbered beyond what the policy wrote of these documents."""
        found = [(task, vector_of(ground, LEARNER, top.now.policy, task)) for task in exams]
        return [Proposal(task.id, number, STRIDE * run.recipe.eval.seeds, 0, _edit(vector, "vector_alone")) for task, vector in found]

    made = run.step("evaluate/vector/edits", Proposal, "Edit vectors of held-out documents", edits)
    exported(ground, LEARNER, top.now.policy)
    vectors: Mapping[str, VectorEdit] = {one.task_id: vector for one in made if (vector := one.edit.vector)}
    vector_rows(run, exams, number, name, strategy, vectors)


def _seed(run: Run, number: int, task: Task) -> int:
    return run.policy.seed("draw", STRATEGY, number, task.id)


def _edit(vector: VectorEdit, strategy: str = STRATEGY) -> SelfEdit:
    return SelfEdit(strategy, (), (), vector=vector)


def _proposals(ground: Ground, kept: Kept, drawn: Mapping[str, Draws]) -> list[Proposal]:
    """The draws as self-edits, numbered after those that were written of the passage."""
    run, first = ground.run, ground.run.recipe.propose.candidates
    return [
        Proposal(task.id, kept.number, first + i, _seed(run, kept.number, task), _edit(ground.edit(values)))
        for task in kept.tasks
        for i, values in enumerate(drawn[task.id].edits)
    ]


def _scored(ground: Ground, kept: Kept, edits: Sequence[Proposal]) -> list[Candidate]:
    """Vectors with their rewards, some passages at a time."""
    run, K = ground.run, int(ground.settings.candidates)
    asked = {task.id: questions_of(ground, task, kept.number) for task in kept.tasks}

    def work(some: Sequence[Task], progress: Progress) -> list[Candidate]:
        own = [task.id for task in some]
        with adapters_of(run, {name: kept.jobs[name] for name in own}, kept.shelf, progress) as under:
            before = answered(run, [Asked(under[task.id], task, asked[task.id]) for task in some], progress)
            here = replace(ground, under=under, base=dict(zip(own, before, strict=True)))
            return scored(here, [one for one in edits if one.task_id in own], asked, progress)

    name, title = f"round-{kept.number}/vector/candidates-", f"Scoring edit vectors on the adapters of {len(kept.tasks)} passages"
    return run.steps(name, Candidate, title, kept.tasks, work, max(1, run.recipe.chunk // K))


def _value(one: Candidate) -> float:
    return float("nan") if one.reward.value is None else one.reward.value


def _described(top: OnTop, number: int, algorithm: str, groups: Sequence[Draws]) -> Update:
    """What the ledger holds of an update: as where vectors stand alone."""
    own = [value for group in groups for value in group.rewards]
    return Update(number, f"{algorithm}, {STRATEGY}", len(groups), 0, (), metrics_of(top.ground, LEARNER, top.now, own))
