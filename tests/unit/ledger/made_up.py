"""A small made-up run, as a function of the ledger alone: what tests kill, resume and compare."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from selfedit.config import Recipe
from selfedit.ledger import Ledger
from selfedit.types import (
    Answer,
    Artifact,
    Candidate,
    Example,
    Prompt,
    Proposal,
    Question,
    Result,
    Reward,
    Selected,
    SelfEdit,
    Task,
    Turn,
    Verdict,
)

R = TypeVar("R")
TASKS = 4
ROUNDS = 2
CANDIDATES = 3
STEPS = 1 + ROUNDS * (1 + 1 + TASKS + 1) + 3


def begin(folder: Path) -> Ledger:
    return Ledger.create(folder, command="selfedit train made-up.toml", recipe=Recipe(seed=7), environment={"python": "3.11"})


def run(ledger: Ledger, pause: Callable[[], None] = lambda: None) -> list[object]:
    """Every step of the run; `pause` is called within each. Returns all records."""
    seen: list[object] = []

    def step(name: str, kind: type[R], make: Callable[[], list[R]]) -> list[R]:
        def compute() -> list[R]:
            pause()
            ledger.count(train_tokens=3, sample_tokens=5)
            return make()

        found = ledger.step(name, kind, compute)
        seen.extend(found)
        return found

    tasks = step("tasks", Task, lambda: [task(number) for number in range(TASKS)])
    for round in range(ROUNDS):
        step(f"round-{round}/base", Result, lambda: [Result("base", t.id, answers(t.reward_questions, True), 0, "reward") for t in tasks])
        proposals = step(f"round-{round}/edits", Proposal, lambda r=round: [proposal(t, r, k) for t in tasks for k in range(CANDIDATES)])
        for t in tasks:
            chosen = [p for p in proposals if p.task_id == t.id]
            step(f"round-{round}/{t.id}", Candidate, lambda t=t, chosen=chosen: [candidate(t, p) for p in chosen])
        step(f"round-{round}/kept", Selected, lambda r=round: [Selected(t.id, r, 0) for t in tasks])
    step("results", Result, lambda: [Result(row, t.id, answers(t.report_questions, row == "after"), 9) for row in ("base", "after") for t in tasks])
    step("guards", Verdict, lambda: [Verdict("forgetting", "accept", "lost 0.1 nats of 1.0 allowed")])
    step("artifacts", Artifact, lambda: [Artifact("adapter", "adapter", "0" * 64)])
    ledger.finish()
    return seen


def task(number: int) -> Task:
    def question(role: str) -> Question:
        return Question(f"What is {role} {number}?", f"the {number}th", "cloze", f"fact {role}")

    return Task(f"t{number}", f"Title {number}", f"Context {number}. " * 50, (question("reward"),), (question("report"), question("also report")))


def proposal(task: Task, round: int, index: int) -> Proposal:
    turns = tuple(Turn(Prompt(f"Write about {task.title}", True, f"Sentence {n}."), f"line {index}", "length") for n in range(index + 1))
    edit = SelfEdit("self-qa", turns, (Example("line", "why?"), Example(task.context)))
    return Proposal(task.id, round, index, 1000 * round + index, edit)


def candidate(task: Task, proposal: Proposal) -> Candidate:
    value = None if proposal.index == 1 else 0.1 * proposal.index + proposal.round / 3
    reward = Reward(value, "likelihood", "diverged" if value is None else "")
    losses = (1 / 3, float("nan")) if value is None else (1 / 3, 0.1 + 0.2)
    two_seeds = (answers(task.reward_questions, proposal.index == 2), answers(task.reward_questions, False))
    return Candidate(proposal, reward, tuple(a for each in two_seeds for a in each), losses, 40, (Verdict("norm", "accept", "small"),))


def answers(questions: tuple[Question, ...], correct: bool) -> tuple[Answer, ...]:
    return tuple(Answer(q, q.answer if correct else "no idea", correct, -1 / 7 if correct else None) for q in questions)


if __name__ == "__main__":  # a process to be killed: FOLDER [seconds in each step]
    folder, pause_s = Path(sys.argv[1]), float(sys.argv[2])
    with Ledger.open(folder) if (folder / "ledger.db").exists() else begin(folder) as ledger:
        print("begun", flush=True)
        run(ledger, lambda: time.sleep(pause_s))
