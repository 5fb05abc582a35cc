"""`few_shot`: the form of the answers is shown in the prompt, and no weight is changed."""

from __future__ import annotations

from selfedit.types import Task
from selfedit.vectors.rows.base import Comparison, VectorRow, Way, vector_row

SHOTS = 3


@vector_row("few_shot", label="Few-shot prompt", means="the untrained model, shown three answered questions with their passages before each question")
class FewShot(VectorRow):
    """What a prompt can do."""

    place = 8

    def way(self, run: Comparison, task: Task) -> Way:
        """The first question of the shortest passages that edits were learned on."""
        shortest = sorted(run.learned, key=lambda one: (len(one.context), one.id))[:SHOTS]
        return Way(before=tuple((run.ask(one, one.reward_questions[0].question), one.reward_questions[0].answer) for one in shortest))
