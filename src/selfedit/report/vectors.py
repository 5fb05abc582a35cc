"""Edit vectors for the report: how each policy learned, and a map of the layers that its edits change."""

from __future__ import annotations

import math
from dataclasses import dataclass

from selfedit.grouping import grouped
from selfedit.ledger import Reader
from selfedit.types import Proposal, Task, Update, VectorEdit

_LAYER = "layer "
"""How the metrics of an update begin that say how long the mean edit is in a layer."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the map: the norm of an edit in each of L layers."""

    name: str
    norms: tuple[float, ...]

    @property
    def whole(self) -> float:
        """The norm of the whole edit."""
        return math.hypot(*self.norms)


@dataclass(frozen=True, slots=True)
class Learner:
    """A policy of edit vectors: its updates, and how its mean edit grew, layer by layer."""

    name: str
    algorithm: str
    updates: list[Update]
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class Vectors:
    """What a run says of edit vectors. `layers` (L,) are those that edits change; `documents` has the edits that were measured, by row of the table.

    `edit` is one of them all, for its shape; `longest` is the largest norm in a layer, to shade the maps by.
    """

    edit: VectorEdit
    layers: tuple[int, ...]
    learners: list[Learner]
    documents: dict[str, list[Line]]
    longest: float


def review(reader: Reader, labels: dict[str, str]) -> Vectors | None:
    """None where the run has no edit vectors. `labels` are what rows of the table are called."""
    proposals = reader.proposals()
    edit = next((one.edit.vector for one in proposals if one.edit.vector), None)
    if edit is None:
        return None
    titles = {task.id: task for task in reader.tasks()}
    learners = [
        _learner(name, [one for one in reader.updates() if one.algorithm == name])
        for name in dict.fromkeys(u.algorithm for u in reader.updates() if u.learner)
    ]
    drawn = [one for one in proposals if one.edit.vector and one.edit.strategy in labels and any(one.edit.vector.values)]
    documents = grouped((labels[one.edit.strategy], _line(one, titles)) for one in drawn)
    lines = [*(line for learner in learners for line in learner.lines), *(line for some in documents.values() for line in some)]
    return Vectors(edit, edit.layers, learners, documents, max((norm for line in lines for norm in line.norms), default=0.0))


def _learner(name: str, updates: list[Update]) -> Learner:
    algorithm, _, learner = name.partition(", ")
    lines = [Line(f"Round {u.round + 1}", tuple(value for key, value in u.metrics.items() if key.startswith(_LAYER))) for u in updates]
    return Learner(learner, algorithm, updates, lines)


def _line(one: Proposal, tasks: dict[str, Task]) -> Line:
    vector = one.edit.vector
    assert vector is not None
    parts = [vector.values[i * vector.width : (i + 1) * vector.width] for i in range(len(vector.layers))]
    return Line(tasks[one.task_id].title or one.task_id, tuple(math.hypot(*part) for part in parts))
