"""What edit vectors are learned on, and how edits are applied, evaluated and reverted.

Shapes: d numbers of an edit, F features of a context, L layers.
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

from selfedit.loop.run import Run
from selfedit.loop.vector_basis import basis_of, loaded
from selfedit.policy import Asked
from selfedit.retention import own_answers
from selfedit.rewards import Measured
from selfedit.types import (
    Adapter,
    Answer,
    Candidate,
    Example,
    Progress,
    Proposal,
    Question,
    Result,
    Reward,
    Score,
    ScoreRequest,
    SelfEdit,
    Task,
    VectorEdit,
)
from selfedit.vectors import gaussian, reading
from selfedit.vectors.gaussian import Array, Gaussian, Schedule
from selfedit.vectors.rows import Learner

# ---------------------------------------------------------------- what a run learns on


@dataclass(frozen=True)
class Ground:
    """What edits are learned on: `train` and `validation` tasks; `features` φ(C) (F,) of every task, also of held-out ones, by its id.

    `base` has the model's own answers to the reward questions by task, `anchors` the everyday answers that an edit should leave as likely as `spoken`
    says that they were. `layers` (L,) are those that edits change. Where edits are added to the adapters of tasks, those are `under` them, and the
    passage is not in view; None where edits stand alone, with the passage in view. `basis` is the SHA-256 of the adapter in the run folder whose
    directions edits weigh; empty where they mix those of the weights.
    """

    run: Run
    train: Sequence[Task]
    validation: Sequence[Task]
    features: Mapping[str, Array]
    base: Mapping[str, tuple[Answer, ...]]
    anchors: Sequence[ScoreRequest]
    spoken: Sequence[Score]
    layers: tuple[int, ...]
    basis: str = ""
    under: Mapping[str, Adapter] | None = None

    @property
    def settings(self) -> Any:
        """Those of the part that makes edit vectors."""
        added = self.run.recipe.added
        return added.settings if added else self.run.recipe.inner

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
        rank = s.width if self.basis else s.rank
        return VectorEdit(self.run.recipe.seed, self.layers, rank, s.width, tuple(gaussian.limited(values, s.norm).tolist()), self.basis)

    def shown(self, task: Task) -> str:
        """What is in view with a task's questions."""
        return task.context if self.under is None else ""

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
    features = features_of(run, train, [*tasks, *exams], int(getattr(settings, "features", 0)))

    def before(progress: Progress) -> list[Result]:
        sets = [Asked(None, task, task.reward_questions, shown=task.context) for task in tasks]
        return [Result("base", task.id, answers, 0, "reward") for task, answers in zip(tasks, answered(run, sets, progress), strict=True)]

    base = {one.task_id: one.answers for one in run.step("base", Result, "Asking before anything is edited", before)}
    n = int(getattr(settings, "anchors", 0))
    said = run.step("replay", Example, "Answering everyday prompts", lambda progress: own_answers(policy, n, None, progress))
    anchors = [ScoreRequest(policy.render.ask(one.prompt), policy.render.reply(one.text)) for one in said]
    basis = basis_of(run, settings, train, layers, shown=True)
    return Ground(run, train, [t for t in tasks if t.id in chosen], features, base, anchors, policy.engine.score(anchors), layers, basis)


def features_of(run: Run, train: Sequence[Task], everything: Sequence[Task], most: int) -> dict[str, Array]:
    """φ(C) of every task, by its id, along at most so many directions in which the training passages differ."""
    engine = run.policy.engine
    with run.watch.stage("Reading the passages") as progress:
        read = engine.read([engine.tokenizer.encode(f"{t.title}\n{t.context}") for t in everything], progress)
    found = dict(zip((t.id for t in everything), read, strict=True))
    fitted = reading.fit([found[t.id] for t in train], most)
    return {task_id: fitted.features(one) for task_id, one in found.items()}


def answered(run: Run, sets: Sequence[Asked], progress: Progress) -> list[tuple[Answer, ...]]:
    """Answers as far as the reward needs them: written and judged, or the likelihood of the gold ones alone."""
    policy = run.policy
    if policy.reward.needs().written:
        return policy.answer(sets, progress)
    golds = policy.gold(sets, progress=progress)
    return [tuple(Answer(q, "", None, gold) for q, gold in zip(one.questions, own, strict=True)) for one, own in zip(sets, golds, strict=True)]


# ---------------------------------------------------------------- apply, evaluate, revert


@contextmanager
def applied(run: Run, edits: Sequence[VectorEdit], under: Sequence[Adapter | None] = ()) -> Iterator[list[Adapter]]:
    """The edits as adapters, each added to the one `under` it, if any; dropped when the block ends, however it does. The model is never changed."""
    engine, adapters, basis = run.policy.engine, list[Adapter](), loaded(run, edits)
    try:
        for edit, below in zip(edits, under or [None] * len(edits), strict=True):
            adapters.append(engine.make(edit, basis))
            if below:
                alone = adapters.pop()
                adapters.append(engine.summed([below, alone]))
                engine.drop(alone)
        yield adapters
    finally:
        for adapter in [*adapters, *([basis] if basis else [])]:
            engine.drop(adapter)


def questions_of(ground: Ground, task: Task, number: int, times: int = 1) -> tuple[Question, ...]:
    """The reward questions that edits of a task are asked in a round: the same ones for all of them, `times` as many as the settings say."""
    chooser, most = random.Random(ground.run.policy.seed("questions", number, task.id)), times * int(ground.settings.questions)
    return tuple(chooser.sample(task.reward_questions, min(most, len(task.reward_questions))))


def scored(ground: Ground, proposals: Sequence[Proposal], asked: Mapping[str, tuple[Question, ...]], progress: Progress) -> list[Candidate]:
    """What edits are worth: all are asked at once, each the questions of its task."""
    run, policy = ground.run, ground.run.policy
    tasks = {task.id: task for task in (*ground.train, *ground.validation)}
    edits = [one.edit.vector for one in proposals if one.edit.vector]
    under = [ground.under[one.task_id] for one in proposals] if ground.under else ()
    with applied(run, edits, under) as adapters:
        sets = [Asked(a, tasks[p.task_id], asked[p.task_id], shown=ground.shown(tasks[p.task_id])) for a, p in zip(adapters, proposals, strict=True)]
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


def unedited(ground: Ground, asked: Mapping[str, tuple[Question, ...]]) -> float:
    """The mean reward of leaving the model as it is, by its own answers to these questions of the validation tasks; 0 where there are none."""
    measured = []
    for task in ground.validation:
        own = tuple(answer for answer in ground.base[task.id] if answer.question in asked[task.id])
        measured.append(Measured(replace(task, report_questions=()), SelfEdit("", (), ()), own, base_answers=own))
    rewards = ground.run.policy.reward.score(measured, ground.run.ledger) if measured else []
    return fmean([one.value for one in rewards if one.value is not None] or [0.0])


def vector_of(ground: Ground, learner: Learner, policy: Gaussian, task: Task) -> VectorEdit:
    """The edit that a policy has for a task, without noise."""
    return ground.edit(policy.likeliest(ground.of(learner, task)))
