"""Cells of a comparison: one row with one seed on some of the documents. Each is a step of the ledger, so that none is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from selfedit.config import MOST_CHOICES, Propose
from selfedit.engine.base import Progress
from selfedit.errors import EngineError
from selfedit.loop.inner import chunks
from selfedit.loop.rounds import Rounds
from selfedit.policy import derive
from selfedit.types import Example, Proposal, Question, Result, Task, TrainJob

STRIDE = MOST_CHOICES
"""Numbers of self-edits kept free for each seed: as many as `propose.candidates` and the choices of strategies may be."""

Trial = tuple[TrainJob, tuple[Question, ...]]
"""An adapter, and the questions that are put to it."""
Plan = Callable[[Task, int], Sequence[Trial]]
"""What an row does with a task under a seed."""
Edits = Mapping[tuple[str, int], Sequence[Proposal]]
"""Self-edits by task and seed, in the order they were written."""


class Cells(Rounds):
    """How any row is measured, over all its seeds."""

    def write(self, row: str, tasks: Sequence[Task], number: int, settings: Propose, first: int = 0) -> Edits:
        """Self-edits of the policy after `number` updates, of every task under every seed, numbered from `first`."""
        recipe, written = self.policy.recipe, dict[tuple[str, int], list[Proposal]]()
        for seed in range(recipe.eval.seeds):
            for i, chunk in enumerate(chunks(tasks, recipe.chunk)):
                compute = partial(self.policy.propose, chunk, number, settings, first=first + STRIDE * seed)
                for proposal in self.step(f"evaluate/{row}/edits/{seed}-{i}", Proposal, f"Writing self-edits ({row}, seed {seed + 1})", compute):
                    written.setdefault((proposal.task_id, seed), []).append(proposal)
        return written

    def row(self, name: str, tasks: Sequence[Task], plan: Plan) -> list[Result]:
        """Every cell of an row."""
        recipe, found = self.policy.recipe, list[Result]()
        for seed in range(recipe.eval.seeds):
            for i, chunk in enumerate(chunks(tasks, recipe.chunk)):
                title = f"Training and asking ({name}, seed {seed + 1})"
                found += self.step(f"evaluate/{name}/{seed}-{i}", Result, title, partial(self.cell, name, chunk, seed, plan))
        return found

    def cell(self, row: str, tasks: Sequence[Task], seed: int, plan: Plan, progress: Progress) -> list[Result]:
        """Adapters for each task, and their answers. Tokens are those of one adapter: the mean, where a task has several."""
        trials = [(task, *trial) for task in tasks for trial in plan(task, seed)]
        with self.policy.adapters([job for _, job, _ in trials], progress) as trained:
            if failed := next((t.failure for t in trained if t.failure), None):
                raise EngineError(f"training failed in row {row}: {failed}")
            answered = self.policy.answer([(t.adapter, task, asked) for t, (task, _, asked) in zip(trained, trials, strict=True)], progress)
        results = []
        for task in tasks:
            own = [(t, answers) for (of, _, _), t, answers in zip(trials, trained, answered, strict=True) if of is task]
            tokens, said = round(sum(t.tokens for t, _ in own) / len(own)), {a.question: a for _, answers in own for a in answers}
            results.append(Result(row, task.id, tuple(said[q] for q in task.report_questions), tokens, "report", seed))
            if any(q in said for q in task.reward_questions):
                results.append(Result(row, task.id, tuple(said[q] for q in task.reward_questions), tokens, "reward", seed))
        return results

    def one(self, task: Task, seed: int, examples: Sequence[Example]) -> list[Trial]:
        """One adapter that is asked all report questions."""
        return [(self.job(task, seed, examples), task.report_questions)]

    def job(self, task: Task, seed: int, examples: Sequence[Example]) -> TrainJob:
        """An adapter's own seed says nothing of the row: of all rows, adapters of one task and seed begin alike."""
        return self.policy.job(examples, derive(self.policy.recipe.seed, "evaluate", task.id, seed))

    def drawn(self, group: Sequence[Proposal], seed: int) -> Proposal:
        """One of them at random."""
        return group[derive(self.policy.recipe.seed, "drawn", group[0].task_id, seed) % len(group)]

    def leave_out(self, row: str, reason: str) -> None:
        """The table says why an row that was asked for is not in it."""
        self.ledger.note(f"left out: {row}", reason)


def matched(job: TrainJob, tokens: int) -> TrainJob:
    """The same job over as many epochs as come nearest to `tokens` tokens in all; at least one."""
    return replace(job, epochs=max(1, round(tokens * job.epochs / tokens_of(job))))


def tokens_of(job: TrainJob) -> int:
    """What is trained on in all epochs."""
    return job.epochs * sum(len(d.tokens) for d in job.data)
