"""Cheaper rounds: every self-edit of a task is rated by something that costs less than the full inner loop, and only the best are trained in full.

Every screen asks one thing, by what it can see early: how much likelier will the gold answers of the reward questions become? `selfedit eval
--reliability` says how well each does with a model and documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

import numpy as np

from selfedit.config import EarlyStop, Expectation, Gradient, Halving, InContext, NoPrefilter, PrefilterSettings, Selective
from selfedit.engine.base import Progress
from selfedit.loop.inner import Base, Inner, chunks, groups
from selfedit.policy import Policy, derive
from selfedit.rewards import choice, likelihood, needs
from selfedit.study.reliability import order, standings
from selfedit.types import Answer, Optimizer, Proposal, Rating, Task, TrainJob

STEP = 1.0
"""Length of the tiny step, L2 norm over all of the adapter: long enough to be told from rounding in bf16, short against what a training moves."""
CLIP = 1e-2
"""The gradient's norm is clipped to this, and Adam's eps of 1 is far above each entry: its first step then is one along the gradient itself."""


class Prefilter(Inner):
    """Which self-edits are worth a full training."""

    def survivors(self, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Base, name: str) -> list[Proposal]:
        """Those that the recipe's screen leaves to be trained in full, all without one."""
        settings = self.policy.recipe.prefilter
        if not isinstance(settings, Selective):
            return list(proposals)
        return best(proposals, self.screen(settings, tasks, proposals, base, name), settings.keep)

    @property
    def reward_epochs(self) -> int | None:
        """Epochs of the trainings that a reward is measured after, None for those of the inner loop."""
        settings = self.policy.recipe.prefilter
        return settings.epochs if isinstance(settings, EarlyStop) else None

    def screen(self, settings: PrefilterSettings, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Base, name: str) -> list[Rating]:
        """What a screen says of each self-edit; with several rungs, again of those that are left."""
        if isinstance(settings, NoPrefilter):
            return []
        by_id, left = {t.id: t for t in tasks}, list(proposals)
        ratings: list[Rating] = []
        for rung in range(len(settings.rungs) if isinstance(settings, Halving) else 1):
            if isinstance(settings, Halving) and rung:
                left = [p for group in groups(left) for p in best(group, ratings, max(settings.keep, math.ceil(len(group) / 2)))]
            for i, chunk in enumerate(chunks(left, self.policy.recipe.chunk)):
                title = f"Prefilter self-edits ({settings.type.replace('_', ' ')}{f', rung {rung + 1}' if rung else ''})"
                ratings += self.step(f"{name}/{settings.type}-{rung}-{i}", Rating, title, partial(self._rate, settings, rung, by_id, chunk, base))
        return ratings

    def _rate(
        self,
        settings: Selective | EarlyStop,
        rung: int,
        tasks: Mapping[str, Task],
        proposals: Sequence[Proposal],
        base: Base,
        progress: Progress,
    ) -> list[Rating]:
        if isinstance(settings, EarlyStop):  # the recipe's reward, with a seed that no reward it is compared with has had
            unused = (self.policy.recipe.reliability.seeds,)
            values = [c.reward.value for c in self.adapt(list(tasks.values()), proposals, base, unused, settings.epochs, progress)]
        elif isinstance(settings, InContext):
            values = self._in_context(tasks, proposals, base, progress)
        else:
            values = self._trained([self._job(settings, rung, p) for p in proposals], tasks, proposals, base, progress)
        return [Rating(p.task_id, p.round, p.index, settings.type, rung, value) for p, value in zip(proposals, values, strict=True)]

    @property
    def _form(self) -> Expectation:
        return needs(self.policy.recipe.reward).form

    def _job(self, settings: Halving | Gradient, rung: int, proposal: Proposal) -> TrainJob:
        """One initialisation for all self-edits of a task: they differ by what they say alone."""
        seed = derive(self.policy.recipe.seed, "screen", proposal.round, proposal.task_id)
        if isinstance(settings, Gradient):
            return one_step(self.policy.job(proposal.edit.examples, seed), settings.measure)
        return self.policy.job(proposal.edit.examples, seed, settings.rungs[rung])

    def _trained(
        self, jobs: Sequence[TrainJob], tasks: Mapping[str, Task], proposals: Sequence[Proposal], base: Base, progress: Progress
    ) -> list[float | None]:
        """Train, ask for the likelihood gain alone, forget."""
        with self.policy.adapters(jobs, progress) as trained:
            exams = [
                (t.adapter, tasks[p.task_id], tasks[p.task_id].reward_questions if t.adapter else ()) for t, p in zip(trained, proposals, strict=True)
            ]
            return self._rated(tasks, proposals, self.policy.gold(exams, progress=progress, form=self._form), base)

    def _in_context(self, tasks: Mapping[str, Task], proposals: Sequence[Proposal], base: Base, progress: Progress) -> list[float | None]:
        chosen = [tasks[p.task_id] for p in proposals]
        shown = [in_view(self.policy, task, p) for task, p in zip(chosen, proposals, strict=True)]
        golds = self.policy.gold([(None, t, t.reward_questions) for t in chosen], shown, progress, self._form)
        return self._rated(tasks, proposals, golds, base)

    def _rated(
        self, tasks: Mapping[str, Task], proposals: Sequence[Proposal], golds: Sequence[Sequence[float | None]], base: Base
    ) -> list[float | None]:
        """What the gold answers' log-likelihoods come to, as a gain or, where this is the reward, as a choice; None where nothing was measured."""
        values = []
        for p, gold in zip(proposals, golds, strict=True):
            questions = tasks[p.task_id].reward_questions if gold else ()
            answers = [Answer(q, "", None, value) for q, value in zip(questions, gold, strict=True)]
            values.append((choice(answers) if self._form == "choice" else likelihood(answers, base[p.task_id])).value)
        return values


def one_step(job: TrainJob, measure: str) -> TrainJob:
    """One tiny step of plain gradient descent on all examples at once, in the terms of AdamW.

    To first order the gold answers' log-likelihood then moves by the step times the dot product of both gradients, with respect to B alone: at the
    initialisation B is zero, and so is A's gradient. Clipped, every self-edit steps as far, and the product is a cosine but for the length of the
    answers' gradient, which is the same for a whole group.
    """
    lr, clip = (STEP / CLIP, CLIP) if measure == "cosine" else (STEP, 0.0)
    plain = Optimizer(lr=lr, schedule="constant", warmup_steps=0, weight_decay=0.0, clip=clip, eps=1.0)
    return replace(job, optimizer=plain, epochs=1, batch_size=len(job.data))


def in_view(policy: Policy, task: Task, proposal: Proposal) -> str:
    """The self-edit's own examples as a text to answer from, as many as half of the model's context holds. Without the passage, which is common
    to all self-edits of a task, and which would answer for them."""
    lines = [f"{e.prompt} {e.text}".strip() for e in proposal.edit.examples if task.context not in e.text]
    used = accumulate(len(policy.engine.tokenizer.encode_more(line)) + 1 for line in lines)
    return "\n".join(line for line, tokens in zip(lines, used, strict=True) if tokens <= policy.engine.context_tokens // 2)


# ---------------------------------------------------------------- who is left


def best(proposals: Sequence[Proposal], ratings: Sequence[Rating], keep: int) -> list[Proposal]:
    """The `keep` best of each group by their ratings, in their old order. What could not be rated is not kept."""
    standing = standings(ratings)
    left = []
    for group in groups(proposals):
        values = np.array([standing.get((p.task_id, p.round, p.index), math.nan) for p in group])
        chosen = {i for i in order(values)[:keep] if not math.isnan(values[i])}
        left += [p for i, p in enumerate(group) if i in chosen]
    return left
