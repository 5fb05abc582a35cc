"""What every row is: in which way the questions about a document are answered, with the passage in view. `@vector_row` registers one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from selfedit.parts import Part, Registry
from selfedit.types import Task, TrainJob

if TYPE_CHECKING:
    from selfedit.policy import Policy


@dataclass(frozen=True, slots=True)
class Learner:
    """A policy of edit vectors that learns in a run. `contextual`: another edit for every context; `algorithm` is empty where it is the recipe's."""

    name: str
    contextual: bool
    algorithm: str = ""


CONTEXTUAL = Learner("contextual", True)
MEAN = Learner("mean", False)
ES = Learner("es", False, "es")


@dataclass(frozen=True, slots=True)
class Way:
    """How a document's questions are answered: under an edit of these `values` (d,), if any; exchanges (question, answer) come `before` each."""

    values: tuple[float, ...] = ()
    before: tuple[tuple[str, str], ...] = ()


class Comparison(Protocol):
    """What a row can ask of the run that it is measured in; the loop implements it."""

    @property
    def policy(self) -> Policy:
        """The run's model."""
        ...

    @property
    def learned(self) -> Sequence[Task]:
        """The tasks that edits were learned on."""
        ...

    def edit(self, learner: Learner, task: Task) -> tuple[float, ...]:
        """The edit (d,) that the best policy of a learner has for a held-out task, without noise."""
        ...

    def step(self) -> tuple[float, ...]:
        """The edit (d,) whose numbers are all alike, of the size that is best on the validation passages."""
        ...

    def ask(self, task: Task, question: str) -> str:
        """A question with its task's passage in view, as it is put to the model."""
        ...


class VectorRow(Part):
    """A row of the table."""

    place = 0
    """Where it stands in the table."""
    learner: Learner | None = None
    """The policy that has to be learned for it."""
    basis = ""
    """The basis of edits that it needs; with another it is left out of the table. Empty: it takes any."""

    def job(self, run: Comparison) -> TrainJob | None:
        """The adapter that all questions are put to, where one is trained."""
        return None

    def way(self, run: Comparison, task: Task) -> Way:
        """How the report questions of a held-out task are answered: under its learner's edit, if it has one."""
        return Way(run.edit(self.learner, task)) if self.learner else Way()


vector_row = Registry("vector_row", VectorRow, typed=False)
"""`@vector_row(name, means=..., label=...)` registers a subclass of VectorRow."""
