"""`random_vector`: an edit in a random direction, as long as the learned one."""

from __future__ import annotations

import math
import random

from selfedit.types import Task
from selfedit.vectors.rows.base import CONTEXTUAL, Comparison, VectorRow, Way, vector_row


@vector_row("random_vector", label="Random edit, same norm", means="for each document an edit in a random direction, as long as the contextual one")
class RandomVector(VectorRow):
    """What any change of this size does."""

    place = 2
    learner = CONTEXTUAL

    def way(self, run: Comparison, task: Task) -> Way:
        """A direction for each document, drawn uniformly."""
        learned = run.edit(CONTEXTUAL, task)
        drawn = random.Random(run.policy.seed("random vector", task.id))
        direction = [drawn.gauss(0, 1) for _ in learned]
        scale = math.hypot(*learned) / math.hypot(*direction)
        return Way(tuple(scale * number for number in direction))
