"""Small tasks, answers and measurements; and a reward function to be imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfedit.rewards import Measured, RewardFunction, reward
from selfedit.types import Answer, Example, JudgeReply, Question, SelfEdit, Task


def question(name: str, gold: str = "x") -> Question:
    return Question(name, gold)


def answer(name: str, correct: bool | None = False, logprob: float | None = None, said: str = "") -> Answer:
    return Answer(question(name, "" if correct is None else "x"), said, correct, logprob)


def task(*questions: Question, id: str = "t", context: str = "Context.") -> Task:
    return Task(id, "Title", context, questions, (question("reported"),))


def edit(*texts: str) -> SelfEdit:
    return SelfEdit("rewrite", (), tuple(Example(text) for text in texts))


def voter(of: Task, *said: str) -> Measured:
    """Answers to the task's questions in turn: the first answers to the first question, and so on, as many to each."""
    n = len(said) // len(of.reward_questions)
    drawn = tuple(Answer(of.reward_questions[i // n], text, None) for i, text in enumerate(said))
    return Measured(of, edit("e"), drawn=drawn)


def opened(name: str, **settings: Any) -> RewardFunction:
    """The reward of this name with these settings, as a recipe opens it."""
    return reward.open(reward.get(name).settings(**settings))


class Notes:
    """A memory that forgets when the process ends."""

    def __init__(self) -> None:
        self.replies: dict[str, JudgeReply] = {}

    def recall(self, key: str) -> JudgeReply | None:
        return self.replies.get(key)

    def remember(self, reply: JudgeReply) -> None:
        assert reply.key not in self.replies
        self.replies[reply.key] = reply


# ---------------------------------------------------------------- functions that a recipe may name


def examples(task: Task, edit: SelfEdit, answers: Sequence[Answer], base_answers: Sequence[Answer]) -> float | None:
    assert not task.report_questions and task.reward_questions
    return len(edit.examples) + sum(a.correct is True for a in answers) - sum(a.correct is True for a in base_answers)


def none(task: Task, edit: SelfEdit, answers: Sequence[Answer], base_answers: Sequence[Answer]) -> float | None:
    return None


def fails(task: Task, edit: SelfEdit, answers: Sequence[Answer], base_answers: Sequence[Answer]) -> float | None:
    raise ZeroDivisionError("by zero")


def infinite(task: Task, edit: SelfEdit, answers: Sequence[Answer], base_answers: Sequence[Answer]) -> float:
    return float("inf")


def words(*anything: object) -> str:
    return "good"


def too_few(task: Task) -> float:
    return 1.0
