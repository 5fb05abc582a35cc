"""`selfedit train --edits vector`: edits are drawn, applied, evaluated and reverted, and the policy that draws them learns from their rewards.

In a round (1) the policy draws K edit vectors for each passage; (2) each is made into an adapter, asked questions with the passage in view, and
dropped again. Then the policy of every learner moves. Read `learn` and `one_round` first.

Shapes: P passages, K edits a passage and learner, Q questions, d numbers of an edit, F features of a context.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from selfedit.algorithms import Algorithm
from selfedit.errors import EngineError
from selfedit.loop.begin import check_lengths
from selfedit.loop.run import Run
from selfedit.loop.train import of_round
from selfedit.parts import KINDS
from selfedit.policy import Asked
from selfedit.retention import own_answers
from selfedit.rewards import Measured
from selfedit.store.artifacts import seal
from selfedit.tasks.base import named_apart
from selfedit.types import (
    Adapter,
    Answer,
    Artifact,
    Candidate,
    Example,
    Passage,
    Progress,
    Proposal,
    Question,
    Result,
    Reward,
    Score,
    ScoreRequest,
    SelfEdit,
    Task,
    Trained,
    Update,
    VectorEdit,
)
from selfedit.vectors import gaussian, reading
from selfedit.vectors.gaussian import Array, Draws, Gaussian, Learned, Schedule
from selfedit.vectors.rows import Learner, VectorRow


def train_vectors(run: Run, passages: Sequence[Passage], held_out: Sequence[Passage]) -> None:
    """Learn to make edit vectors, and compare them on documents that none was learned from."""
    from selfedit.loop.vector_rows import measure

    policy = run.policy
    check_lengths(run, [*passages, *held_out])
    layers = policy.inner.layers(policy.engine.layers)
    tasks = run.step("tasks", Task, "Preparing questions", lambda progress: policy.domain.tasks(policy, passages, "train", progress, gold=True))
    exams = run.step("held-out", Task, "Preparing held-out questions", lambda progress: held_out_tasks(run, named_apart(held_out, tasks), progress))
    settings = run.recipe.inner
    entries = [KINDS["vector_row"].get(name) for name in getattr(settings, "rows", ())]
    rows: list[VectorRow] = sorted((entry.build(entry.settings()) for entry in entries), key=lambda row: row.place)
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


# ---------------------------------------------------------------- what a run learns on


@dataclass(frozen=True)
class Ground:
    """What edits are learned on: `train` and `validation` tasks; `features` φ(C) (F,) of every task, also of held-out ones, by its id.

    `base` has the model's own answers to the reward questions by task, `anchors` the everyday answers that an edit should leave as likely as `spoken`
    says that they were. `layers` (L,) are those that edits change.
    """

    run: Run
    train: Sequence[Task]
    validation: Sequence[Task]
    features: Mapping[str, Array]
    base: Mapping[str, tuple[Answer, ...]]
    anchors: Sequence[ScoreRequest]
    spoken: Sequence[Score]
    layers: tuple[int, ...]

    @property
    def settings(self) -> Any:
        """Those of the inner loop."""
        return self.run.recipe.inner

    @property
    def d(self) -> int:
        """Numbers of an edit."""
        return len(self.layers) * int(self.settings.width)

    @cached_property
    def schedule(self) -> Schedule:
        """How policies move."""
        s = self.settings
        return Schedule(s.sigma, s.lr, s.kl * self.d, s.anchor)

    def edit(self, values: Array) -> VectorEdit:
        """Numbers (d,) as an edit of the run's basis, shortened where they are too long."""
        s = self.settings
        return VectorEdit(self.run.recipe.seed, self.layers, s.rank, s.width, tuple(gaussian.limited(values, s.norm).tolist()))

    def of(self, learner: Learner, task: Task) -> Array:
        """φ(C) as a learner sees it: the constant alone, where it does not look at the context."""
        return self.features[task.id] if learner.contextual else self.features[task.id][:1]


def prepared(run: Run, tasks: Sequence[Task], exams: Sequence[Task], layers: tuple[int, ...]) -> Ground:
    """Read the passages, ask the model before anything is edited, and let it say what is to stay as it is."""
    policy, settings = run.policy, run.recipe.inner
    kept = round(getattr(settings, "validation", 0.0) * len(tasks))
    shuffled = random.Random(policy.seed("validation")).sample(list(tasks), len(tasks))
    chosen = {task.id for task in shuffled[:kept]} if kept < len(tasks) else set()
    train = [task for task in tasks if task.id not in chosen]
    with run.watch.stage("Reading the passages") as progress:
        everything = [*tasks, *exams]
        read = policy.engine.read([policy.engine.tokenizer.encode(f"{t.title}\n{t.context}") for t in everything], progress)
    found = dict(zip((t.id for t in everything), read, strict=True))
    fitted = reading.fit([found[t.id] for t in train], int(getattr(settings, "features", 0)))

    def before(progress: Progress) -> list[Result]:
        sets = [Asked(None, task, task.reward_questions, shown=task.context) for task in tasks]
        return [Result("base", task.id, answers, 0, "reward") for task, answers in zip(tasks, answered(run, sets, progress), strict=True)]

    base = {one.task_id: one.answers for one in run.step("base", Result, "Asking before anything is edited", before)}
    n = int(getattr(settings, "anchors", 0))
    said = run.step("replay", Example, "Answering everyday prompts", lambda progress: own_answers(policy, n, None, progress))
    anchors = [ScoreRequest(policy.render.ask(one.prompt), policy.render.reply(one.text)) for one in said]
    features = {task_id: fitted.features(one) for task_id, one in found.items()}
    return Ground(run, train, [t for t in tasks if t.id in chosen], features, base, anchors, policy.engine.score(anchors), layers)


def answered(run: Run, sets: Sequence[Asked], progress: Progress) -> list[tuple[Answer, ...]]:
    """Answers as far as the reward needs them: written and judged, or the likelihood of the gold ones alone."""
    policy = run.policy
    if policy.reward.needs().written:
        return policy.answer(sets, progress)
    golds = policy.gold(sets, progress=progress)
    return [tuple(Answer(q, "", None, gold) for q, gold in zip(one.questions, own, strict=True)) for one, own in zip(sets, golds, strict=True)]


# ---------------------------------------------------------------- apply, evaluate, revert


@contextmanager
def applied(run: Run, edits: Sequence[VectorEdit]) -> Iterator[list[Adapter]]:
    """The edits as adapters, which are dropped at the end of the block, however it ends. The model itself is never changed."""
    adapters: list[Adapter] = []
    try:
        for edit in edits:
            adapters.append(run.policy.engine.make(edit))
        yield adapters
    finally:
        for adapter in adapters:
            run.policy.engine.drop(adapter)


def scored(ground: Ground, proposals: Sequence[Proposal], asked: Mapping[str, tuple[Question, ...]], progress: Progress) -> list[Candidate]:
    """What edits are worth: all are asked at once, each the questions of its task."""
    run, policy = ground.run, ground.run.policy
    tasks = {task.id: task for task in (*ground.train, *ground.validation)}
    edits = [one.edit.vector for one in proposals if one.edit.vector]
    with applied(run, edits) as adapters:
        sets = [Asked(a, tasks[p.task_id], asked[p.task_id], shown=tasks[p.task_id].context) for a, p in zip(adapters, proposals, strict=True)]
        answers = answered(run, sets, progress)
        drifts = drifted(ground, adapters)
    measured = [
        Measured(replace(one.task, report_questions=()), p.edit, found, base_answers=ground.base[p.task_id])
        for one, p, found in zip(sets, proposals, answers, strict=True)
    ]
    rewards = zip(policy.reward.score(measured, run.ledger), drifts, edits, strict=True)
    return [Candidate(p, penalised(ground, *found)) for p, found in zip(proposals, rewards, strict=True)]


def drifted(ground: Ground, adapters: Sequence[Adapter]) -> list[float]:
    """How much less likely the model's own everyday answers became under each adapter, nats a token."""
    if not ground.anchors:
        return [0.0] * len(adapters)
    scores = ground.run.policy.engine.score([replace(anchor, adapter=adapter) for adapter in adapters for anchor in ground.anchors])
    n, tokens = len(ground.anchors), sum(len(score.logprobs) for score in ground.spoken)
    before = sum(sum(score.logprobs) for score in ground.spoken)
    return [(before - sum(sum(score.logprobs) for score in scores[i * n : (i + 1) * n])) / tokens for i in range(len(adapters))]


def penalised(ground: Ground, reward: Reward, drift: float, edit: VectorEdit) -> Reward:
    """The reward less what drift and open layers cost; unscored where either could not be measured."""
    s = ground.settings
    if reward.value is None or not np.isfinite(drift):
        return reward if reward.value is None else Reward(None, reward.kind, "the everyday answers have no finite likelihood under the edit")
    on = sum(any(edit.values[i * edit.width : (i + 1) * edit.width]) for i in range(len(edit.layers)))
    value = reward.value - s.drift * max(0.0, drift - s.drift_free) - s.gate * on
    return replace(reward, value=value, parts=(*reward.parts, ("gain", reward.value), ("drift", drift)))


# ---------------------------------------------------------------- learning


def learn(ground: Ground, learners: Sequence[Learner]) -> dict[str, Gaussian]:
    """Every learner's best policy by the validation passages; the first one's that was not worse than no edit at all, where there are any."""
    now = {one.name: begun(ground, one) for one in learners}
    best: dict[str, tuple[float, Gaussian]] = {name: (0.0, one.policy) for name, one in now.items()}
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
    rewards: dict[tuple[str, str], list[float]] = {}
    for one in candidates:
        value = one.reward.value
        rewards.setdefault((one.proposal.edit.strategy, one.proposal.task_id), []).append(float("nan") if value is None else value)
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


def questions_of(ground: Ground, task: Task, number: int, times: int = 1) -> tuple[Question, ...]:
    """The reward questions that edits of a task are asked in a round: the same ones for all of them, `times` as many as the settings say."""
    chooser, most = random.Random(ground.run.policy.seed("questions", number, task.id)), times * int(ground.settings.questions)
    return tuple(chooser.sample(task.reward_questions, min(most, len(task.reward_questions))))


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
        own = [value for (name, _), values in rewards.items() if name == learner.name for value in values if np.isfinite(value)]
        groups = sum(name == learner.name for name, _ in rewards)
        one, part = after[learner.name], algorithm_of(ground, learner).settings.part
        mean = gaussian.limited(mean_edit(ground, learner, one.policy), ground.settings.norm)
        metrics = {"reward": fmean(own), "kl": one.kl, "sigma": one.policy.sigma, "norm": float(np.linalg.norm(mean))}
        if learner.name in validation:
            metrics["validation"] = validation[learner.name]
        by_layer = np.linalg.norm(mean.reshape(len(ground.layers), -1), axis=1)
        metrics |= {f"layer {layer}": float(norm) for layer, norm in zip(ground.layers, by_layer, strict=True)}
        found.append(Update(number, f"{part}, {learner.name}", groups, 0, (), metrics))
    return found


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
    asked = {task.id: questions_of(ground, task, -1, 2) for task in ground.validation}
    values: dict[str, list[float]] = {}
    for one in scored(ground, found, asked, progress) if found else ():
        values.setdefault(one.proposal.edit.strategy, []).append(-np.inf if one.reward.value is None else one.reward.value)
    return {name: fmean(own) for name, own in values.items()}


def vector_of(ground: Ground, learner: Learner, policy: Gaussian, task: Task) -> VectorEdit:
    """The edit that a policy has for a task, without noise."""
    return ground.edit(policy.likeliest(ground.of(learner, task)))


def told(number: int, rounds: int, update: Update) -> str:
    """A round in a line."""
    found = update.metrics
    held = f", on validation passages {found['validation']:+.3f}" if "validation" in found else ""
    return f"round {number + 1} of {rounds}: reward {found['reward']:+.3f}{held}; norm of the mean edit {found['norm']:.2f}, σ {found['sigma']:.3f}"
