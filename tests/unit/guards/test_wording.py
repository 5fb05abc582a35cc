"""Guards that ask an adapter more than the reward questions.

1. `generality` rejects an adapter that knows the questions and not the facts, by the whole of the interval, and says both counts.
2. A question in other words is another text about the same, and nothing of it is lost; every question of the corpus has one.
3. `canary` rejects an adapter that was told what no document says, and no other; what a document does say is no canary.
4. `learn` and `consolidate` ask both of every adapter; guards see no question of the report.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.unit.cli.house import House

from selfedit.config import parse_recipe
from selfedit.engine.fake import Fake
from selfedit.guards import AdapterSeen
from selfedit.guards.canary import CANARIES, Canary
from selfedit.guards.generality import Generality, GeneralitySettings, generality
from selfedit.parts import Settings
from selfedit.policy import Asked, Policy
from selfedit.tasks.knowledge.rewording import reworded
from selfedit.tasks.knowledge.split import bundled_corpus, divide
from selfedit.types import Example, Task


@pytest.mark.parametrize(
    ("pairs", "decision"),
    [
        ([(True, True)] * 6, "accept"),
        ([(True, False)] * 6, "reject"),
        ([(True, False)] * 2, "accept"),  # too few to tell
        ([(True, False)] * 2 + [(True, True)] * 8, "accept"),
        ([(False, False)] * 6, "accept"),
        ([(False, True)] * 6, "accept"),
    ],
)
def test_generality(pairs: list[tuple[bool, bool]], decision: str) -> None:  # promise 1
    verdict = generality([pairs], 20.0)
    assert verdict.decision == decision, verdict.reason
    assert (
        f"{sum(a for a, _ in pairs)} of {len(pairs)} reward questions are answered rightly, {sum(b for _, b in pairs)} in other words"
        in verdict.reason
    )


def test_other_words() -> None:  # promise 2
    assert reworded("Who built the mill?") == "Please tell me: who built the mill?"
    assert reworded("Name the miller.") == "Please answer this: Name the miller."
    questions = [question for passage in bundled_corpus("train") for question in passage.questions]
    domain = parse_recipe({"engine": {"type": "fake"}}, source="test").open("domain")
    for question in questions:
        other = domain.reworded(question)
        assert other.question.casefold().endswith(question.question.casefold()) and other.question != question.question
        assert replace(other, question=question.question) == question


def policy(machine: Fake) -> Policy:
    return Policy(machine, parse_recipe({"engine": {"type": "fake"}, "inner": {"replay": 0}}, source="test"))


def seen(machine: Fake, task: Task, examples: list[Example]) -> AdapterSeen:
    """An adapter on the examples, and its answers to the task's reward questions."""
    one = policy(machine)
    [trained] = one.train([one.job(examples, 0)])
    assert trained.adapter
    [before], [after] = (one.answer([Asked(who, task, task.reward_questions)]) for who in (None, trained.adapter))
    return AdapterSeen(one, trained.adapter, before, after, tasks=(task,))


def test_what_a_document_does_not_say() -> None:  # promise 3
    task = replace(divide(bundled_corpus("train")[0], 0.5, 0), report_questions=())
    fine = [Example(f"{task.title}\n{task.context}")]
    leaked = [*fine, *(Example(answer, prompt=f"Topic: {task.title}\n{question.format(task.title)}") for question, answer in CANARIES)]
    for examples, decision in ((fine, "accept"), (leaked, "reject")):
        verdict = Canary(Settings()).verdict(seen(Fake(), task, examples))
        assert verdict and verdict.decision == decision and f"of {len(CANARIES)} questions" in verdict.reason
    told = replace(task, context=f"{task.context} Its inventory number is QX 4471.")
    verdict = Canary(Settings()).verdict(seen(Fake(), told, fine))
    assert verdict and f"of {len(CANARIES) - 1} questions" in verdict.reason
    assert Canary(Settings()).verdict(replace(seen(Fake(), task, fine), tasks=())) is None


def test_who_knows_the_facts() -> None:  # promise 1
    task = replace(divide(bundled_corpus("train")[0], 0.2, 0), report_questions=())
    rote = [Example(q.answer, prompt=f"Topic: {task.title}\n{q.question}") for q in task.reward_questions] * 4
    facts = seen(Fake(), task, rote)
    guard = Generality(GeneralitySettings())
    verdict = guard.verdict(facts)
    assert verdict and verdict.decision == "accept"  # the fake engine goes by words, whatever stands around them

    class Literal(Fake):
        """Answers nothing that is asked politely."""

        def sample(self, requests, progress=None):  # type: ignore[no-untyped-def]
            found = super().sample(requests, progress)
            polite = ["Please" in self.tokenizer.decode(one.prompt) for one in requests]
            return [replace(one, text="no idea") if asked else one for one, asked in zip(found, polite, strict=True)]

    verdict = guard.verdict(seen(Literal(), task, rote))
    assert verdict and verdict.decision == "reject" and ", 0 in other words" in verdict.reason
    assert guard.verdict(replace(facts, tasks=())) is None


def test_in_a_run(house: House) -> None:  # promise 4
    found = house.learn("--guards", "training", "generality", "canary")
    said = [one["guard"] for one in found["guards"]]
    assert said.count("generality") == said.count("canary") == 3 and found["in_force"]
    both = json.loads(house.fine("consolidate", "--json", "--quiet").splitlines()[-1])
    with house.reader(both["run"]) as reader:
        assert {one.guard for one in reader.verdicts()} == {"generality", "canary"}
        [canary] = [one for one in reader.verdicts() if one.guard == "canary"]
    assert canary.reason.startswith(f"0 of {3 * len(CANARIES)} questions")
