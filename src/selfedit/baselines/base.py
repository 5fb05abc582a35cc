"""What every baseline is: a row of the table beside the result, which adapter it trains for a document, and on what. `@baseline` registers one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from selfedit.errors import ConfigError
from selfedit.parts import Part, Registry
from selfedit.types import Example, Proposal, Question, Result, SelfEdit, Task, TrainJob, VectorEdit

if TYPE_CHECKING:
    from selfedit.policy import Policy

Edits = Mapping[tuple[str, int], Sequence[Proposal]]
"""Self-edits by task and seed, in the order they were written."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """An adapter that is trained for a row, and the questions that are put to it; without a job they are put to the current weights. `edit` is the
    self-edit that it is trained on, where there is one; an edit `vector` is added to the adapter, or to the weights where there is none.

    Where several adapters of a task answer the same questions, the one that answers most rightly counts, and of equal ones the surest.
    """

    job: TrainJob | None
    questions: tuple[Question, ...]
    edit: SelfEdit | None = None
    vector: VectorEdit | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """What training begins with: the strategy that the untrained model does best with, what came of its self-edits, and those themselves.

    `own` came of the self-edits that it wrote as a policy writes: with that strategy, or with those that it picked itself.
    """

    strategy: str
    results: Sequence[Result] = ()
    own: Sequence[Result] = ()
    edits: Edits | None = None


class Comparison(Protocol):
    """What a baseline can ask of the run that it is measured in; the loop implements it."""

    @property
    def policy(self) -> Policy:
        """The run's policy, with the weights that the row begins with."""
        ...

    @property
    def tasks(self) -> Sequence[Task]:
        """The held-out tasks."""
        ...

    @property
    def edits(self) -> Edits:
        """The self-edits that the untrained model wrote, K of each task under each seed, of the strategies in turn."""
        ...

    @property
    def final(self) -> Sequence[Result]:
        """Results of the row that the run is about; empty for baselines that are measured before it."""
        ...

    @property
    def start(self) -> Start | None:
        """What training began with, as far as it is known: of a row before `untrained` the first strategy, and no results."""
        ...

    def row(self, name: str, plan: Callable[[Task, int], Sequence[Measurement]]) -> list[Result]:
        """Train and ask what the plan says for every task under every seed."""
        ...

    def job(self, task: Task, seed: int, examples: Sequence[Example]) -> TrainJob:
        """An adapter's training. Its seed says nothing of the row: of all rows, adapters of one task and seed begin alike."""
        ...

    def edited(self, task: Task, seed: int, edit: SelfEdit) -> Measurement:
        """The training of a self-edit, with its own directives, and the report questions; no job where it has a problem and cannot be trained."""
        ...

    def leave_out(self, row: str, reason: str) -> None:
        """The table says why a row that was asked for is not in it."""
        ...

    def best_of_k(self, K: int) -> Mapping[tuple[str, int], Proposal]:
        """The best of K self-edits by its reward, as a round selects it."""
        ...

    def answer_base(self, row: str) -> None:
        """The current weights' own answers, as a row."""
        ...

    def untrained(self) -> Start:
        """Rows of the untrained model's self-edits, one a strategy; the best stands as `untrained`."""
        ...


class Baseline(Part):
    """A row of the table."""

    when: Literal["before", "after"] = "before"
    """Before anything is merged into the model, or after the final row, whose tokens it may match."""
    place = 0
    """Where it stands in the table among the rows that are measured before the final one."""
    needs_edits = 0
    """Self-edits of the untrained model that it needs of each task: none, one of each strategy (1), or K (2)."""
    rewarded = False
    """Whether it asks for the recipe's reward."""
    starts = False
    """Whether it is what training begins with."""

    def called_for(self, recipe: Any) -> bool:
        """Whether it stands in the table of this recipe without being asked for."""
        return False

    def plan(self, run: Comparison, task: Task, seed: int) -> Sequence[Measurement]:
        """The adapters of a task under a seed, and what each is asked."""
        return [Measurement(run.job(task, seed, self.examples(run, task, seed)), task.report_questions)]

    def examples(self, run: Comparison, task: Task, seed: int) -> Sequence[Example]:
        """What one adapter is trained on."""
        raise NotImplementedError(f"baseline {self.settings.part} has no examples")

    def measure(self, run: Comparison) -> Start | None:
        """The row; what training begins with, where this row is that."""
        run.row(self.settings.part, lambda task, seed: self.plan(run, task, seed))
        return None

    def together(self, policy: Policy, tasks: Sequence[Task], seed: int, after: TrainJob) -> TrainJob | None:
        """For `learn`: one adapter for the documents of a final one (`after`), to stand beside it; None where the row makes no sense there."""
        return None


def _of_function(name: str, function: Callable[..., Any]) -> Callable[[Any], Baseline]:
    """A baseline made of `function(task, settings)`, which returns the examples that an adapter for the task is trained on."""

    class Function(Baseline):
        def examples(self, run: Comparison, task: Task, seed: int) -> Sequence[Example]:
            found = list(function(task, self.settings))
            if not all(isinstance(example, Example) for example in found):
                raise ConfigError(f"baseline '{name}' has to return a list of Example")
            return found

    return Function


baseline = Registry("baseline", Baseline, wrap=_of_function, typed=False)
"""`@baseline(name, means=..., label=..., settings=...)` registers a subclass of Baseline, or a function of (task, settings)."""


def needs_directives(name: str, recipe: Any) -> None:
    """Raises ValueError where a row about directives is asked for, and the recipe names none."""
    if not recipe.propose.directives:
        raise ValueError(f"eval.baselines names {name}, and propose.directives is empty: every row has the recipe's settings")


def matched(job: TrainJob, tokens: int) -> TrainJob:
    """The same job over as many epochs as come nearest to `tokens` tokens in all; at least one."""
    return replace(job, epochs=max(1, round(tokens * job.epochs / job.tokens)))


def merged(edits: Sequence[Proposal]) -> list[Example]:
    """The examples of several self-edits; what several say in the same words, the passage above all, stands there once."""
    return list(dict.fromkeys(example for p in edits for example in p.edit.examples))
