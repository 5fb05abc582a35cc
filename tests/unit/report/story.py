"""Made-up but complete runs for the report: eight documents, four self-edits each, two rounds, and texts that mean harm."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from selfedit.config import Recipe
from selfedit.ledger import Ledger
from selfedit.types import (
    Answer,
    Artifact,
    Candidate,
    Dropped,
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

HOSTILE = "<script>alert('xss')</script><img src=x onerror=alert(1)></div>{{ 7 * 7 }} ]]>--> \u202eltr\u202c & \"quotes\""
TITLES = [
    "The lighthouse of Skerryvore",
    "Amber trade on the Vistula",
    HOSTILE,
    "A history of the pendulum clock",
    "Deep-sea cables of 1858",
    "How tea came to Darjeeling",
    "The 1906 survey of Lake Eyre",
    "Bells of Rostov",
]
KINDS = ("given", "written", "cloze")
BASELINES = {"base": 0.08, "passage_only": 0.22, "token_matched": 0.29, "after": 0.52, "best_of_k": 0.58}
TRAINING_ARMS = {"base": 0.08, "passage_only": 0.22, "untrained": 0.3, "round-1": 0.45, "round-2": 0.7}
ROUNDS, CANDIDATES, QUESTIONS, SEEDS, SENTENCES = 2, 4, 6, 2, 9


def tell(folder: Path, *, only: Sequence[str] = ("tasks", "edits", "results", "guards", "end")) -> None:
    """Write a run that learned documents to a ledger, or only some of its chapters."""
    chance = random.Random(5)
    recipe = Recipe(seed=11, docs=(Path("docs/lighthouses.md"), Path("docs/trade.txt")), rounds=ROUNDS)
    environment = {"python": "3.12.1", "torch": "2.13.0", "transformers": "5.20.0", "code": "3f9c2d1", "machine": "2 cores, 8 GB"}
    with Ledger.create(folder, command="selfedit learn docs/ --seed 11", recipe=recipe, environment=environment) as ledger:
        tasks = [task(number, title, chance) for number, title in enumerate(TITLES)]
        if "tasks" in only:
            ledger.step("tasks", Task, lambda: tasks)
        if "edits" in only:
            for round in range(ROUNDS):
                edits(ledger, tasks, round, chance)
        if "results" in only:
            for row, skill in BASELINES.items():
                ledger.step(f"results/{row}", Result, lambda row=row, skill=skill: [result(row, t, skill, chance) for t in tasks])
        if "guards" in only:
            verdicts = [
                Verdict("forgetting", "accept", "lost 0.12 nats a token on general knowledge, 1.00 allowed"),
                Verdict("budget", "stop", HOSTILE),
            ]
            ledger.step("guards", Verdict, lambda: verdicts)
        if "end" in only:
            ledger.step("adapter", Artifact, lambda: [Artifact("adapter", "adapter", "9f2c" * 16)])
            ledger.note("questions", {"given": 12, "written": 20, "dropped": HOSTILE})
            ledger.finish()


def tell_training(folder: Path, rows: dict[str, float] = TRAINING_ARMS) -> None:
    """Write a run that trained a policy, measured on documents of its own."""
    chance = random.Random(6)
    with Ledger.create(folder, command="selfedit train", recipe=Recipe(rounds=ROUNDS), environment={"python": "3.12.1"}) as ledger:
        tasks = ledger.step("tasks", Task, lambda: [task(number, title, chance) for number, title in enumerate(TITLES)])
        held_out = ledger.step("held-out", Task, lambda: [task(100 + number, f"Held out {number}", chance) for number in range(8)])
        for row, skill in rows.items():
            if row.startswith("round-"):
                edits(ledger, tasks, int(row[-1]) - 1, chance)
            step = {"base": "base", "passage_only": "passage-only"}.get(row, f"evaluate/{row}")
            ledger.step(step, Result, lambda row=row, skill=skill: [result(row, t, skill, chance) for t in held_out])
        ledger.finish()


def task(number: int, title: str, chance: random.Random) -> Task:
    def question(role: str, place: int) -> Question:
        year = chance.randint(1800, 1920)
        return Question(f"In which year did event {place} of “{title}” take place? ({role})", str(year), KINDS[place % 3], f"fact {place}")

    context = " ".join(f"In {chance.randint(1800, 1920)} event {place} took place, as the chronicle has it." for place in range(14))
    context = f"{context} {HOSTILE if number == 2 else ''}"
    return Task(f"doc-{number}", title, context, *(tuple(question(role, place) for place in range(QUESTIONS)) for role in ("reward", "report")))


def edits(ledger: Ledger, tasks: list[Task], round: int, chance: random.Random) -> None:
    proposals = [proposal(t, round, index) for t in tasks for index in range(CANDIDATES)]

    def write() -> list[Proposal]:
        ledger.count(sample_tokens=180 * len(proposals))
        return proposals

    ledger.step(f"round-{round}/base", Result, lambda: [Result("base", t.id, answers(t.reward_questions, 1.0, chance), 0, "reward") for t in tasks])
    recorded = ledger.step(f"round-{round}/edits", Proposal, write)
    groups: list[Candidate] = []
    for chunk, t in enumerate(tasks):

        def train(t: Task = t) -> list[Candidate]:
            ledger.count(train_tokens=4 * 2900, sample_tokens=4 * 64)
            return [candidate(t, p, chance) for p in recorded if p.task_id == t.id]

        groups += ledger.step(f"round-{round}/candidates-{chunk}", Candidate, train)
    best = [max((c for c in groups if c.proposal.task_id == t.id and c.reward.value is not None), key=lambda c: c.reward.value or 0.0) for t in tasks]
    ledger.step(f"round-{round}/kept", Selected, lambda: [Selected(c.proposal.task_id, round, c.proposal.index) for c in best])


def proposal(task: Task, round: int, index: int) -> Proposal:
    examples = tuple(
        Example(f"It took place in {1800 + 7 * line}.", f"When did event {line} of “{task.title}” take place?") for line in range(SENTENCES)
    )
    dropped = (Dropped("Question 9: Question 9: Question 9:", "repeats itself"), Dropped(HOSTILE, "no answer follows the question"))
    if index % 2:
        prompt = Prompt(f"Write questions and short answers about this passage.\n\n{task.title}\n{task.context}\n\n{HOSTILE}")
        completion = "\n".join(f"Question {n}: {e.prompt}\nAnswer: {e.text}" for n, e in enumerate(examples, 1)) + f"\n{HOSTILE}"
        turns = (Turn(prompt, completion, "length" if index == 3 else "stop"),)
    else:
        turns = tuple(small_step(task, example, last=example is examples[-1]) for example in examples)
    edit = SelfEdit("self-qa" if index % 2 else "span-qa", turns, (*examples, Example(task.context)), dropped)
    return Proposal(task.id, round, index, 100 * round + index, edit)


def small_step(task: Task, example: Example, last: bool) -> Turn:
    prompt = Prompt(f"Topic: {task.title}\nAnswer: {example.text}\nQuestion: {HOSTILE}", True, HOSTILE if last else example.text)
    return Turn(prompt, HOSTILE if last else example.prompt, "length" if last else "stop")


def candidate(task: Task, proposal: Proposal, chance: random.Random) -> Candidate:
    losses = tuple(3.1 * 0.9**step for step in range(40))
    if proposal.index == 3 and task.id == "doc-4":
        refused = (Verdict("norm", "reject", "the adapter's norm is not a number"),)
        return Candidate(proposal, Reward(None, "likelihood", "training diverged"), (), (*losses[:3], float("nan")), 2900, refused)
    value = chance.gauss(0.45 + 0.25 * proposal.round, 0.3)
    answered = answers(task.reward_questions * SEEDS, 0.2 + 0.2 * proposal.round, chance)
    return Candidate(proposal, Reward(value, "likelihood"), answered, losses, 2900, (Verdict("norm", "accept", "0.8 of 5.0"),))


def answers(questions: tuple[Question, ...], skill: float, chance: random.Random) -> tuple[Answer, ...]:
    def answer(question: Question) -> Answer:
        correct = chance.random() < skill
        said = f"It was in {question.answer}." if correct else chance.choice(["I do not know.", "It was in 1066.", HOSTILE])
        return Answer(question, said, correct, -chance.uniform(0.2, 1.0) if correct else -chance.uniform(1.0, 4.0))

    return tuple(answer(question) for question in questions)


def result(row: str, task: Task, skill: float, chance: random.Random) -> Result:
    tokens = {"base": 0, "passage_only": 18_400, "best_of_k": chance.randint(2500, 3300)}.get(row, 92_300)
    if task.title.startswith("Held out") and tokens:
        tokens = chance.randint(400, 700) if row == "passage_only" else chance.randint(2500, 3300)
    return Result(row, task.id, answers(task.report_questions, skill, chance), tokens)


if __name__ == "__main__":
    (tell_training if "training" in sys.argv else tell)(Path(sys.argv[1]))
