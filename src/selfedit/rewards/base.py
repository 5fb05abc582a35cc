"""What every reward is: what it needs to be measured, and what it says of candidates. `@reward` registers one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Protocol

from selfedit.errors import ConfigError, SelfeditError
from selfedit.parts import Part, Registry
from selfedit.types import Answer, Example, JudgeReply, Reward, Score, SelfEdit, Task

Form = Literal["answer", "sentence"]
"""The form of what a model is expected to say."""
Expectation = Form | Literal["choice"]
"""What a gold answer's likelihood is measured of: a token of it in this form, or the choice of its sentence among all of the passage."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What has to be measured for a reward; nothing else is.

    `answers`: a greedy answer to each reward question, judged, and the log-likelihood of the gold one, of the candidate and of the current weights.
    `samples`: so many answers drawn to each of them at `temperature`. `texts`: the log-likelihood of withheld sentences.
    `gold`: reward questions have to have a known answer. `form` is what a gold answer's likelihood is measured of. `written` False: the likelihood of
    gold answers is enough, where nothing else comes of writing answers.
    """

    answers: bool = False
    samples: int = 0
    temperature: float = 0.0
    texts: bool = False
    gold: bool = False
    form: Expectation = "answer"
    written: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one candidate: of S inner seeds and Q reward questions. Empty where the reward does not need it.

    `answers` (S·Q,) stand seed by seed, `drawn` (S·Q·n,) likewise with n samples a question, `texts` (S·W,) with W withheld sentences.
    `base_answers` (Q,) and `texts_before` (W,) are the current weights' own. The task comes without its report questions.
    """

    task: Task
    edit: SelfEdit
    answers: tuple[Answer, ...] = ()
    base_answers: tuple[Answer, ...] = ()
    drawn: tuple[Answer, ...] = ()
    texts: tuple[Score, ...] = ()
    texts_before: tuple[Score, ...] = ()


class Memory(Protocol):
    """Where a judge's replies are kept, so that nothing is asked twice."""

    def recall(self, key: str) -> JudgeReply | None:
        """What was remembered under this key."""
        ...

    def remember(self, reply: JudgeReply) -> None:
        """Keep a reply, at once. Raises LedgerError for a second judge."""
        ...


class RewardFunction(Part):
    """The reward of a self-edit."""

    def needs(self) -> Needs:
        """What has to be measured; by default greedy answers, judged against known ones."""
        return Needs(answers=True, gold=True)

    def score(self, measured: Sequence[Measured], memory: Memory) -> list[Reward]:
        """Rewards of candidates, in their order. Whole groups come together: all candidates of a task that could be trained."""
        return [self.one(m) for m in measured]

    def one(self, measured: Measured) -> Reward:
        """The reward of one candidate, for rewards that look at each by itself."""
        raise NotImplementedError(f"{type(self).__name__} has neither `score` nor `one`")

    def material(self, task: Task, edit: SelfEdit) -> tuple[Example, ...]:
        """What an adapter is trained on while self-edits are compared: the whole self-edit, unless the reward has to withhold a part."""
        return edit.examples

    def texts(self, task: Task) -> tuple[str, ...]:
        """The withheld sentences whose likelihood is measured."""
        return ()

    def depends_on(self) -> dict[str, str]:
        """What the reward depends on beyond the recipe, for the ledger's notes. Raises ConfigError where something it needs is not there."""
        return {}


def _of_function(name: str, function: Callable[..., Any], needs: Sequence[str] = ("answers", "gold")) -> Callable[[Any], RewardFunction]:
    """A reward made of `function(measured, settings)`: one candidate → a number, None (unscored), or a Reward with its reason and parts."""
    known = ("answers", "gold", "texts")
    if unknown := [need for need in needs if need not in known]:
        raise ConfigError(f"reward '{name}' needs '{unknown[0]}', which is nothing that is measured; there are {', '.join(known)}")
    if len(inspect.signature(function).parameters) != 2:
        raise ConfigError(f"reward '{name}' has to take (measured, settings); it takes {inspect.signature(function)}")
    wanted = Needs(answers="answers" in needs, gold="gold" in needs, texts="texts" in needs)

    class Function(RewardFunction):
        def needs(self) -> Needs:
            return wanted

        def one(self, measured: Measured) -> Reward:
            return checked(name, name, lambda: function(measured, self.settings))

    return Function


reward = Registry("reward", RewardFunction, wrap=_of_function)
"""`@reward(name, means=..., settings=..., needs=...)` registers a RewardFunction, or a function of (measured, settings)."""


def checked(kind: str, name: str, compute: Callable[[], Any]) -> Reward:
    """What a user's function says: a finite number; unscored where it fails, says None, or says anything else."""
    try:
        value: object = compute()
    except SelfeditError:
        raise
    except Exception as error:
        return Reward(None, kind, f"{name} failed: {type(error).__name__}: {error}"[:500])
    if isinstance(value, Reward):
        return value
    if value is None:
        return Reward(None, kind, f"{name} gave no reward")
    if not isinstance(value, Real) or not math.isfinite(value):
        return Reward(None, kind, f"{name} gave {value!r:.100}, not a finite number")
    return Reward(float(value), kind)
