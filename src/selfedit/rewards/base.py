"""What a reward needs to be measured, what it then may look at, and where a judge's replies are remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from selfedit.config import Expectation
from selfedit.types import Answer, JudgeReply, Score, SelfEdit, Task


@dataclass(frozen=True, slots=True)
class Needs:
    """What has to be measured for a reward; nothing else is.

    `answers`: a greedy answer to each reward question, judged, and the log-likelihood of the gold one, of the candidate and of the current weights.
    `samples`: so many answers drawn to each of them at `temperature`. `texts`: the log-likelihood of withheld sentences.
    `gold`: reward questions have to have a known answer. `form` is what a gold answer's likelihood is measured of.
    """

    answers: bool = False
    samples: int = 0
    temperature: float = 0.0
    texts: bool = False
    gold: bool = False
    form: Expectation = "answer"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one candidate, all its inner seeds together, one after the other; empty where the reward does not need it.

    The task comes without its report questions. `base_answers` and `texts_before` are the current weights' own, once.
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
