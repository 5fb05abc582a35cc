"""One-step gradient alignment: the likelihood gain after one tiny step along the self-edit's gradient, from the adapter's initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from selfedit.prefilters.base import Base, Prefilter, Ratings, SelectiveSettings, Tasks, gains, prefilter
from selfedit.types import Optimizer, Progress, Proposal, TrainJob

if TYPE_CHECKING:
    from selfedit.policy import Policy

STEP = 1.0
"""Length of the tiny step, L2 norm over all of the adapter: long enough to be told from rounding in bf16, short against what a training moves."""
CLIP = 1e-2
"""The gradient's norm is clipped to this, and Adam's eps of 1 is far above each entry: its first step then is one along the gradient itself."""


class GradientSettings(SelectiveSettings):
    """Settings of `gradient`."""

    measure: Literal["cosine", "dot"] = "cosine"
    """`cosine`: the step is as long for every self-edit. `dot`: as long as its gradient."""


@prefilter(
    "gradient",
    label="one-step gradient",
    means="the likelihood gain after one tiny step along the self-edit's gradient, from the adapter's initialisation",
    settings=GradientSettings,
)
class Gradient(Prefilter):
    """One-step gradient alignment."""

    def rate(self, policy: Policy, rung: int, tasks: Tasks, edits: Sequence[Proposal], base: Base, progress: Progress) -> Ratings:
        """The likelihood gain after the step, from one initialisation for all self-edits of a task."""
        whole = [policy.job(e.edit.examples, policy.seed("screen", e.round, e.task_id)) for e in edits]
        jobs = [one_step(job, self.settings.measure) for job in whole]
        return gains(policy, tasks, edits, policy.gold_of_jobs(jobs, [tasks[e.task_id] for e in edits], progress), base)


def one_step(job: TrainJob, measure: str) -> TrainJob:
    """One tiny step of plain gradient descent on all examples at once, in the terms of AdamW.

    To first order the gold answers' log-likelihood then moves by the step times the dot product of both gradients, with respect to B alone: at the
    initialisation B is zero, and so is A's gradient. Clipped, every self-edit steps as far, and the product is a cosine but for the length of the
    answers' gradient, which is the same for a whole group.
    """
    lr, clip = (STEP / CLIP, CLIP) if measure == "cosine" else (STEP, 0.0)
    plain = Optimizer(lr=lr, schedule="constant", warmup_steps=0, weight_decay=0.0, clip=clip, eps=1.0)
    return replace(job, optimizer=plain, epochs=1, batch_size=len(job.data))
