"""What every domain is: where tasks come from, how their questions are asked, and how answers are judged. `@domain` registers one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfedit.directives import Directive
from selfedit.errors import ConfigError
from selfedit.parts import Part, Registry
from selfedit.rewards import NAME
from selfedit.strategies import find, parts, strategy
from selfedit.types import Answer, Demonstration, Example, Passage, Progress, Question, Say, SelfEdit, Task

if TYPE_CHECKING:
    from selfedit.policy import Asked, Policy
    from selfedit.rewards import Expectation

Split = Literal["train", "heldout"]
"""Documents to learn from, or to be measured on."""
Purpose = Literal["learn", "train", "heldout"]
"""What tasks are for: to be learned and reported on; to learn to write from, so that every question serves the reward; or to be measured on."""


class Domain(Part):
    """A family of tasks."""

    begins_with = ""
    """The packaged recipe that runs of this domain begin with where none is given; empty: the defaults."""
    aim = "to remember what this passage says"
    """What a self-edit is for, as the policy is told where it sets directives: "the settings that help most to ..."."""
    judge = NAME
    """How answers are judged, in a few words."""
    needs_text = True
    """Whether adapters are trained on what self-edits hold, and not on what the domain makes of the task itself."""
    learns_documents = True
    """Whether its tasks are documents, which `learn` keeps adapters of."""

    def check(self, recipe: Any) -> None:
        """Refuse strategies whose self-edits could not be trained on, or would be ignored."""
        for name in (part for choice in recipe.propose.strategies for part in parts(choice)):
            if name in strategy and find(name, recipe.strategy).has_text != self.needs_text:
                why = "writes nothing to train on" if self.needs_text else "writes texts, and training data are made of the task itself"
                raise ValueError(f"propose.strategies: {name} does not go with domain {self.settings.part}: it {why}")

    def read(self, recipe: Any, docs: Sequence[Path], split: Split, say: Say) -> list[Passage]:
        """The passages of the documents, or of what the domain brings where there are none. Needs no model. Raises DataError."""
        raise NotImplementedError

    def demonstrations(self, recipe: Any, examples: Sequence[Path]) -> list[Demonstration]:
        """What a cold start shows. Needs no model. Raises DataError where nothing can be made of it."""
        raise NotImplementedError

    def tasks(self, policy: Policy, passages: Sequence[Passage], purpose: Purpose, progress: Progress, *, gold: bool = False) -> list[Task]:
        """Tasks for these passages, with their questions divided between reward and report. `gold`: every reward question needs a known answer.

        Raises DataError where nothing can be asked.
        """
        raise NotImplementedError

    def directives(self) -> tuple[Directive, ...]:
        """What a self-edit may set beside what its inner loop has: directives that strategies or an inner loop of this domain follow."""
        return ()

    def material(self, task: Task, edit: SelfEdit, asked: Sequence[Question], seed: int) -> Sequence[Example]:
        """What an adapter is trained on that will be asked these questions: the examples of the self-edit, or what its directives make of the task.

        An answer that is part of the task itself must not be in it where it is `asked` for.
        """
        return edit.examples

    def problem(self, policy: Policy, task: Task, edit: SelfEdit) -> str:
        """Why a self-edit cannot be trained, which leaves it without a score; empty where it can."""
        return ""

    def answer(self, policy: Policy, sets: Sequence[Asked], progress: Progress | None, form: Expectation) -> list[tuple[Answer, ...]]:
        """Answers to questions, (Q,) for each set, judged, with the log-likelihood of the gold ones: by default one greedy answer to each."""
        return policy.answer_once(sets, progress, form)

    def gold(self, policy: Policy, sets: Sequence[Asked], progress: Progress | None, form: Expectation) -> list[tuple[float | None, ...]]:
        """The log-likelihood of gold answers alone, nats, (Q,) for each set, as `answer` gives it."""
        return policy.gold_once(sets, progress=progress, form=form)

    def question(self, title: str, question: str) -> str:
        """A question as it is put to a model, without the passage."""
        raise NotImplementedError

    def correct(self, prediction: str, question: Question) -> bool | None:
        """Whether a prediction answers the question; None where nobody knows."""
        raise NotImplementedError

    def passage(self, task: Task) -> Example:
        """The context itself as a training example: what the baselines without self-edits train on."""
        raise NotImplementedError

    def exchange(self, task: Task, question: Question) -> Example:
        """A question as it will be asked, with its answer."""
        return Example(question.answer, prompt=self.question(task.title, question.question))

    def worked(self, n: int) -> Sequence[Example]:
        """`n` questions about none of the tasks, as questions are put, with answers as they ought to be; there may be fewer."""
        return ()

    def expected(self, task: Task, question: Question, form: Expectation) -> tuple[Sequence[str], Sequence[str]]:
        """The texts that give the gold answer in this form, and those that could be said instead; neither where there is no choice."""
        raise NotImplementedError

    def fresh(self, policy: Policy, tasks: Sequence[Task], wanted: int, progress: Progress, number: int = 0) -> list[tuple[Question, ...]]:
        """Up to `wanted` further questions about each task that ask for nothing that its own questions ask for, written by the policy; others for
        another `number`.

        Raises ConfigError where the domain writes none.
        """
        raise ConfigError(f"domain {self.settings.part} writes no questions of its own: leave harvest.questions at 0")

    def reworded(self, question: Question) -> Question | None:
        """The same question in other words, with the same answers; None where the domain cannot say it otherwise."""
        return None

    def open_book(self, task: Task, question: Question) -> str:
        """A question with the context in view; reads as a user's turn and as a text to continue."""
        raise NotImplementedError


domain = Registry("domain", Domain)
"""`@domain(name, means=..., settings=...)` registers a subclass of Domain."""


def named_apart(passages: Sequence[Passage], others: Sequence[Task]) -> Sequence[Passage]:
    """The passages under ids that no other task has: files of both may have the same name."""
    taken = {task.id for task in others}
    while any(passage.id in taken for passage in passages):
        passages = [replace(passage, id=f"held-out-{passage.id}") for passage in passages]
    return passages
