"""The gradient whose directions edit vectors weigh (`inner.basis`): taken once before the first round, and kept in the run folder as an adapter."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from selfedit.loop.run import Run
from selfedit.store.artifacts import BASIS, check, seal
from selfedit.types import Adapter, Artifact, Example, Progress, Task, Trained, VectorEdit

MOST = 64
"""Questions whose gradient is taken."""
TITLE = "the basis of edit vectors"


def basis_of(run: Run, settings: Any, train: Sequence[Task], layers: tuple[int, ...], shown: bool) -> str:
    """The SHA-256 of the adapter whose directions edits weigh, which is left in the run folder; empty where they mix those of the weights.

    It is a step of steepest descent of the right answers to the training questions, the passage in view where it is `shown`.
    """
    if getattr(settings, "basis", "") != "gradient":
        return ""
    policy = run.policy

    def work(progress: Progress) -> list[Artifact]:
        pairs = [(task, question) for task in train for question in task.reward_questions]
        some = pairs if len(pairs) <= MOST else random.Random(policy.seed("basis")).sample(pairs, MOST)
        examples = [Example(q.answer, prompt=policy.wording(t.title, q.question, t.context if shown else "")) for t, q in some]
        adapter = policy.engine.descent([policy.render.datum(one) for one in examples], layers, settings.width, progress)
        try:
            run.export(Trained(adapter, (), 0), BASIS)
        finally:
            policy.engine.drop(adapter)
        return [seal(run.ledger.folder, BASIS, TITLE)]

    [found] = run.step("basis", Artifact, "Taking the gradient of the training questions", work)
    return found.sha256


def loaded(run: Run, edits: Sequence[VectorEdit]) -> Adapter | None:
    """The adapter whose directions the edits weigh, None where they have none. Raises LedgerError where it is no longer what the run left."""
    wanted = next((edit.basis for edit in edits if edit.basis), "")
    return run.policy.engine.load(check(run.ledger.folder, Artifact(TITLE, BASIS, wanted))) if wanted else None
