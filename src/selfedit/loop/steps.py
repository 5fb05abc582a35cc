"""What a run is computed with: the policy, the ledger's steps, and adapters that stay in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeVar

from selfedit.engine.base import Progress
from selfedit.errors import EngineError
from selfedit.ledger import Ledger
from selfedit.loop.measuring import before
from selfedit.policy import Policy
from selfedit.store.artifacts import write_adapter
from selfedit.types import Adapter, Answer, Result, Task, Trained, TrainJob

R = TypeVar("R")
Stage = Callable[[str], AbstractContextManager[Progress]]
"""Shows a piece of work by its name while it goes on."""


@dataclass(frozen=True)
class Steps:
    """A policy at work, its ledger, and who watches."""

    policy: Policy
    ledger: Ledger
    stage: Stage

    def step(self, name: str, kind: type[R], title: str, compute: Callable[[Progress], Sequence[R]]) -> list[R]:
        """A step of the ledger, shown while it is computed."""

        def shown() -> Sequence[R]:
            with self.stage(title) as progress:
                return compute(progress)

        return self.ledger.step(name, kind, shown)

    def answer_base(self, name: str, tasks: Sequence[Task], role: Literal["report", "reward"] = "report") -> dict[str, tuple[Answer, ...]]:
        """The current weights' own answers, once for each task."""

        def work(progress: Progress) -> list[Result]:
            if role == "reward":
                answers = before(self.policy, tasks, progress)
            else:
                answers = self.policy.answer([(None, t, t.report_questions) for t in tasks], progress)
            return [Result("base", t.id, a, 0, role) for t, a in zip(tasks, answers, strict=True)]

        title = "Asking before learning" if role == "report" else "Asking the questions that choose between self-edits"
        return {r.task_id: r.answers for r in self.step(name, Result, title, work)}

    # ------------------------------------------------------------ adapters

    def export_trained(self, job: TrainJob, name: str, progress: Progress) -> Trained:
        """Train one adapter of the policy and leave it in the run folder."""
        with self.policy.adapters([job], progress) as [trained]:
            if trained.failure:
                raise EngineError(f"the policy could not be trained: {trained.failure}")
            self.export(trained, name)
        return trained

    def export(self, trained: Trained, name: str) -> None:
        """Write an adapter whole or not at all."""
        adapter = _adapter(trained)
        write_adapter(self.ledger.folder / name, lambda draft: self.policy.engine.export(adapter, draft))


def _adapter(trained: Trained) -> Adapter:
    if trained.adapter is None:
        raise EngineError(f"there is no adapter: {trained.failure}")
    return trained.adapter
