"""`selfedit train --edits vector`: edits are drawn, applied, evaluated and reverted, and the policy that draws them learns from their rewards.

In a round (1) the policy draws K edit vectors for each passage; (2) each is made into an adapter, asked questions with the passage in view, and
dropped again. Then the policy of every learner moves. Read `learn` and `one_round` first.

Shapes: P passages, K edits a passage and learner, Q questions, d numbers of an edit, F features of a context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from selfedit.algorithms import Algorithm
from selfedit.errors import EngineError
from selfedit.grouping import grouped
from selfedit.loop.begin import check_lengths
from selfedit.loop.run import Run, of_round
from selfedit.loop.vector_ground import Ground, applied, prepared, questions_of, scored, unedited, vector_of
from selfedit.loop.vector_rows import measure
from selfedit.parts import KINDS
from selfedit.store.artifacts import seal
from selfedit.tasks.base import named_apart
from selfedit.types import Artifact, Candidate, Passage, Progress, Proposal, Question, SelfEdit, Task, Trained, Update
from selfedit.vectors import gaussian
from selfedit.vectors.gaussian import Array, Draws, Gaussian, Learned
from selfedit.vectors.rows import Learner, VectorRow


def train_vectors(run: Run, passages: Sequence[Passage], held_out: Sequence[Passage]) -> None:
    """Learn to make edit vectors, and compare them on documents that none was learned from."""
    policy = run.policy
    check_lengths(run, [*passages, *held_out])
    layers = policy.inner.layers(policy.engine.layers)
    tasks = run.step("tasks", Task, "Preparing questions", lambda progress: policy.domain.tasks(policy, passages, "train", progress, gold=True))
    exams = run.step("held-out", Task, "Preparing held-out questions", lambda progress: held_out_tasks(run, named_apart(held_out, tasks), progress))
    settings = run.recipe.inner
    entries = [KINDS["vector_row"].get(name) for name in getattr(settings, "rows", ())]
    built: list[VectorRow] = sorted((entry.build(entry.settings()) for entry in entries), key=lambda row: row.place)
    rows = [row for row in built if row.basis in ("", getattr(settings, "basis", ""))]
    learners = tuple({row.learner.name: row.learner for row in rows if row.learner}.values())
    ground = prepared(run, tasks, exams, layers)
    policies = learn(ground, learners) if learners else {}
    if learners:
        exported(ground, learners[0], policies[learners[0].name])
    measure(ground, rows, exams, policies)


def held_out_tasks(run: Run, passages: Sequence[Passage], progress: Progress) -> list[Task]:
    """Tasks of documents that nobody learns from. All questions are reported, in an order that no seed decides: nothing is chosen by them."""
    found = run.policy.domain.tasks(run.policy, passages, "heldout", progress, gold=True)
    both = [(task, sorted((*task.reward_questions, *task.report_questions), key=lambda one: one.question)) for task in found]
    return [replace(task, reward_questions=(), report_questions=tuple(questions)) for task, questions in both]


def exported(ground: Ground, learner: Learner, policy: Gaussian) -> None:
    """Leave the learner's mean edit over the training passages in the run folder: one adapter, in PEFT's format, for whatever is asked."""
    run = ground.run

    def work(_: Progress) -> list[Artifact]:
        with applied(run, [ground.edit(mean_edit(ground, learner, policy))]) as [adapter]:
            run.export(Trained(adapter, (), 0), "adapter")
        return [seal(run.ledger.folder, "adapter", "the mean edit")]

    run.step("adapter", Artifact, "Exporting the mean edit", work)


# ---------------------------------------------------------------- learning


def learn(ground: Ground, learners: Sequence[Learner]) -> dict[str, Gaussian]:
    """The best policy of every learner, by the validation passages; no edit at all where none beats that. Without such passages it is the last."""
    now = {one.name: begun(ground, one) for one in learners}
    nothing = unedited(ground, validation_questions(ground))
    best: dict[str, tuple[float, Gaussian]] = {name: (nothing, one.policy) for name, one in now.items()}
    since = 0
    rounds = ground.run.recipe.rounds
    for number in range(rounds):
        now, updates = one_round(ground, learners, now, number, number / max(1, rounds - 1))
        since += 1
        for learner, update in zip(learners, updates, strict=True):
            found = update.metrics.get("validation")
            if found is None or found > best[learner.name][0]:
                best[learner.name] = found or 0.0, now[learner.name].policy
                since = 0 if learner is learners[0] else since
        ground.run.watch.say(told(number, rounds, updates[0]))
        if 0 < ground.settings.patience <= since:
            break
    return {name: policy for name, (_, policy) in best.items()}


def begun(ground: Ground, learner: Learner) -> Learned:
    """Every edit is zero."""
    F = len(ground.of(learner, ground.train[0]))
    return gaussian.begin(ground.d, F, ground.settings.sigma, len(ground.layers) if ground.settings.gate else 0)


def algorithm_of(ground: Ground, learner: Learner) -> Algorithm:
    """The one it learns by."""
    recipe = ground.run.recipe
    found: Algorithm = (
        KINDS["algorithm"].open(KINDS["algorithm"].get(learner.algorithm).settings()) if learner.algorithm else recipe.open("algorithm")
    )
    return found


def one_round(
    ground: Ground, learners: Sequence[Learner], now: Mapping[str, Learned], number: int, progress: float
) -> tuple[dict[str, Learned], list[Update]]:
    """Draw, apply, evaluate, revert, update: the learners after it, and what the ledger says of their updates."""
    run, policy, K = ground.run, ground.run.policy, int(ground.settings.candidates)
    tasks_P = of_round(policy, ground.train, number)
    asked = {task.id: questions_of(ground, task, number) for task in tasks_P}
    drawn = {
        (learner.name, task.id): gaussian.draw(
            now[learner.name].policy, ground.of(learner, task), K, policy.seed("draw", learner.name, number, task.id)
        )
        for learner in learners
        for task in tasks_P
    }
    edits = run.step(f"round-{number}/edits", Proposal, "Drawing edits", lambda _: proposals(ground, learners, tasks_P, drawn, number))
    title = f"Round {number + 1} of {run.recipe.rounds}: {len(edits)} edits applied, evaluated and reverted"
    candidates = run.step(f"round-{number}/candidates", Candidate, title, lambda shown: scored(ground, edits, asked, shown))
    values = [float("nan") if one.reward.value is None else one.reward.value for one in candidates]
    rewards = grouped(((c.proposal.edit.strategy, c.proposal.task_id), value) for c, value in zip(candidates, values, strict=True))
    if not any(np.isfinite(found).any() for found in rewards.values()):
        raise EngineError(f"no edit of round {number + 1} could be scored: {candidates[0].reward.reason}; lower inner.sigma")
    after: dict[str, Learned] = {}
    for learner in learners:
        algorithm = algorithm_of(ground, learner)
        groups = [replace(drawn[learner.name, task.id], rewards=np.array(rewards[learner.name, task.id])) for task in tasks_P]
        after[learner.name] = gaussian.update(now[learner.name], groups, algorithm.weigh, algorithm.passes, ground.schedule, progress)
    title = f"Round {number + 1} of {run.recipe.rounds}: validating"
    said = run.step(f"round-{number}/update", Update, title, lambda shown: described(ground, learners, after, rewards, number, shown))
    return after, said


def validation_questions(ground: Ground) -> dict[str, tuple[Question, ...]]:
    """What the validation tasks are asked after every round, by task: always the same."""
    return {task.id: questions_of(ground, task, -1, 2) for task in ground.validation}


def proposals(
    ground: Ground, learners: Sequence[Learner], tasks_P: Sequence[Task], drawn: Mapping[tuple[str, str], Draws], number: int
) -> list[Proposal]:
    """The draws as self-edits, numbered through over the learners; their strategy is the learner's name."""
    found = []
    for task in tasks_P:
        values = [(one.name, each) for one in learners for each in drawn[one.name, task.id].edits]
        for index, (name, each) in enumerate(values):
            vector = ground.edit(each)
            seed = ground.run.policy.seed("draw", name, number, task.id)
            found.append(Proposal(task.id, number, index, seed, SelfEdit(name, (), (), vector=vector)))
    return found


def described(
    ground: Ground,
    learners: Sequence[Learner],
    after: Mapping[str, Learned],
    rewards: Mapping[tuple[str, str], Sequence[float]],
    number: int,
    progress: Progress,
) -> list[Update]:
    """Of each learner: the mean reward of the round, what its edits are worth on the validation passages, and where its mean edit stands."""
    validation = validated(ground, learners, after, number, progress)
    found = []
    for learner in learners:
        own = [value for (name, _), values in rewards.items() if name == learner.name for value in values]
        groups, part = sum(name == learner.name for name, _ in rewards), algorithm_of(ground, learner).settings.part
        metrics = metrics_of(ground, learner, after[learner.name], own)
        if learner.name in validation:
            metrics["validation"] = validation[learner.name]
        found.append(Update(number, f"{part}, {learner.name}", groups, 0, (), metrics))
    return found


def metrics_of(ground: Ground, learner: Learner, one: Learned, rewards: Sequence[float]) -> dict[str, float]:
    """What the ledger says of an update: the mean of the finite rewards, how far it went, and how long the mean edit is, in all and by layer."""
    mean = gaussian.limited(mean_edit(ground, learner, one.policy), ground.settings.norm)
    by_layer = np.linalg.norm(mean.reshape(len(ground.layers), -1), axis=1)
    metrics = {"reward": fmean(value for value in rewards if np.isfinite(value)), "kl": one.kl, "sigma": one.policy.sigma}
    metrics |= {"norm": float(np.linalg.norm(mean))}
    return metrics | {f"layer {layer}": float(norm) for layer, norm in zip(ground.layers, by_layer, strict=True)}


def mean_edit(ground: Ground, learner: Learner, policy: Gaussian) -> Array:
    """The mean over the training contexts of the edits that a policy has for them."""
    found: Array = np.mean([policy.likeliest(ground.of(learner, task)) for task in ground.train], axis=0)
    return found


def validated(ground: Ground, learners: Sequence[Learner], after: Mapping[str, Learned], number: int, progress: Progress) -> dict[str, float]:
    """The mean reward of every learner's edits, without noise, on the validation passages; of one that could not be scored minus infinity."""
    pairs = [(learner, task) for learner in learners for task in ground.validation]
    found = [
        Proposal(task.id, number, index, 0, SelfEdit(learner.name, (), (), vector=vector_of(ground, learner, after[learner.name].policy, task)))
        for index, (learner, task) in enumerate(pairs)
    ]
    asked = validation_questions(ground)
    edits = scored(ground, found, asked, progress) if found else ()
    values = grouped((one.proposal.edit.strategy, -np.inf if one.reward.value is None else one.reward.value) for one in edits)
    return {name: fmean(own) for name, own in values.items()}


def told(number: int, rounds: int, update: Update) -> str:
    """A round in a line."""
    found = update.metrics
    held = f", on validation passages {found['validation']:+.3f}" if "validation" in found else ""
    return f"round {number + 1} of {rounds}: reward {found['reward']:+.3f}{held}; norm of the mean edit {found['norm']:.2f}, σ {found['sigma']:.3f}"
