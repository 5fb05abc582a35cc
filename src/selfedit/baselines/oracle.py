"""`oracle`: the very questions with their answers, in other wordings than those asked: about as good as a self-edit can be."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.baselines.base import Baseline, Comparison, Measurement, Start, baseline
from selfedit.grouping import grouped
from selfedit.types import Question, Task


@baseline(
    "oracle", label="Oracle", means="an adapter for each document, on the very questions with their answers, in other wordings than those asked"
)
class Oracle(Baseline):
    """An upper bound."""

    place = 5

    def measure(self, run: Comparison) -> Start | None:
        """Left out where a question has no other wording."""
        number = [len(wordings(task)[question.fact]) for task in run.tasks for question in task.report_questions]
        if lonely := sum(n < 2 for n in number):
            run.leave_out("oracle", f"{lonely} of {len(number)} report questions have no other wording to learn from")
            return None
        return super().measure(run)

    def plan(self, run: Comparison, task: Task, seed: int) -> Sequence[Measurement]:
        """Every wording is asked once, of an adapter that learned all the others."""
        domain = run.policy.domain
        return [
            Measurement(run.job(task, seed, [*(domain.exchange(task, q) for q in learned), domain.passage(task)]), asked)
            for learned, asked in folds(task)
        ]


def wordings(task: Task) -> dict[str | None, list[Question]]:
    """The report questions by what they ask for. One without a fact has no other wording, and several without one are none of each other."""
    return {None: [], **grouped((question.fact, question) for question in task.report_questions if question.fact is not None)}


def folds(task: Task) -> list[tuple[list[Question], tuple[Question, ...]]]:
    """(learned, asked): every wording is asked once, of an adapter that learned all the others."""
    facts = [group for group in wordings(task).values() if group]
    return [
        ([q for group in facts for n, q in enumerate(group) if n != place], tuple(group[place] for group in facts if place < len(group)))
        for place in range(max(map(len, facts)))
    ]
