"""A sequence of documents to learn one after another, what a way of learning them comes to, and how its questions are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from selfedit.baselines.base import matched
from selfedit.policy import Asked, Policy, Renderer
from selfedit.retention import everyday
from selfedit.retention.probes import ask_probes, some
from selfedit.text import judge_answer
from selfedit.types import Adapter, Datum, Example, Question, SampleRequest, Sampling, Task, TrainJob

Scores = list[tuple[float, float]]
"""Right or not, and F1, of each question of a document."""
EVERYDAY, PROBES, ANCHORS, REPLAYED = 60, 112, 24, 8
"""Everyday prompts whose answers are compared, probes of ability, everyday prompts by which STABLE measures what an edit costs, and everyday prompts
that are trained on beside each document where a way replays them."""
TEACHER = 32
"""Likeliest tokens that a teacher gives at each place."""
COST = 0.055
"""Nats a token that an edit may cost on anchors: STABLE's .08 bits (arXiv 2510.16089)."""


@dataclass(frozen=True)
class Found:
    """What a way came to.

    Scores of each document just after it was learned and at the end; the share of everyday answers that stayed; what became of each probe.
    `matrix` (T + 1, T), where it was measured: right answers about each document after 0, 1, ... T edits.
    """

    immediate: list[Scores]
    final: list[Scores]
    locality: float
    ability: list[float]
    tokens: int
    seconds: float = 0.0
    matrix: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Stream:
    """A sequence of documents with what all ways share: `replay` are everyday prompts with the answers of the untrained model.

    `whole` asks for the matrix where a way can give it.
    """

    policy: Policy
    tasks: list[Task]
    edits: list[tuple[Example, ...]]
    replay: tuple[Example, ...]
    folder: Path
    made: Sequence[Path]
    """The folder of each document's own adapter, which a longer sequence takes from the shorter one that had the document."""
    whole: bool = False
    known: dict[str, list[Datum]] = field(default_factory=dict)
    """What the untrained model expects or says, by what it was asked; asked once, before anything is merged."""

    def job(self, examples: Sequence[Example], number: int, replay: int | None = None) -> TrainJob:
        """Training with as many everyday prompts beside it as the recipe says; with another number of them, for as many tokens."""
        self.policy.replay = self.replay[: self.policy.inner.settings.replay]
        full = self.policy.job(examples, number)
        if replay is None:
            return full
        self.policy.replay = self.replay[:replay]
        return matched(self.policy.job(examples, number), full.tokens)


Way = Callable[[Stream], Found]
Making = Callable[[Stream, int], TrainJob]
"""The training on document number n of a stream, given the model's weights as they are when it comes."""


# ---------------------------------------------------------------- asking


def graded(said: str, question: Question) -> tuple[float, float]:
    """Right by the local judge, and F1."""
    verdict = judge_answer(said, question.golds)
    return float(verdict.correct), verdict.f1


def direct(policy: Policy, tasks: Sequence[Task], adapters: Sequence[Adapter | None] = (None,)) -> list[Scores]:
    """Greedy answers without the passage, of one adapter or of one for each document, scored."""
    given = [adapters[n % len(adapters)] for n in range(len(tasks))]
    answers = policy.answer([Asked(adapter, task, task.report_questions) for adapter, task in zip(given, tasks, strict=True)])
    return [[graded(answer.prediction, answer.question) for answer in some] for some in answers]


def as_it_came(s: Stream, shown: Sequence[str]) -> list[Scores]:
    """Answers of the untrained model, in its chat form, each with a text in view or without one, scored."""
    render = Renderer(s.policy.engine.tokenizer)
    flat = [(n, task, q) for n, task in enumerate(s.tasks) for q in task.report_questions]
    sampling = Sampling(s.policy.recipe.questions.max_tokens, stop=render.answer_stop)
    requests = [
        SampleRequest(render.ask(s.policy.wording(task.title, q.question, text)), sampling) for (_, task, q), text in zip(flat, shown, strict=True)
    ]
    return by_document(len(s.tasks), [(n, q, completion.text) for (n, _, q), completion in zip(flat, s.policy.sample(requests), strict=True)])


def by_document(documents: int, said: Sequence[tuple[int, Question, str]]) -> list[Scores]:
    """Scores by document of answers in any order: (number of the document, question, answer)."""
    scores: list[Scores] = [[] for _ in range(documents)]
    for n, question, text in said:
        scores[n].append(graded(text.strip(), question))
    return scores


def right(scores: Sequence[Scores]) -> list[float]:
    """The share of right answers about each document."""
    return [fmean(one for one, _ in document) for document in scores]


def everyday_answers(policy: Policy, adapter: Adapter | None = None) -> list[str]:
    """Answers to everyday prompts that are for measuring alone."""
    prompts = [policy.render.ask(one.prompt) for one in everyday("check")[:EVERYDAY]]
    return [c.text for c in policy.sample([SampleRequest(p, Sampling(48, stop=policy.render.answer_stop), adapter) for p in prompts])]


def unchanged(before: Sequence[str], after: Sequence[str]) -> float:
    """The share of answers that are the same, word for word."""
    return fmean(float(a == b) for a, b in zip(before, after, strict=True))


def abilities(policy: Policy, adapter: Adapter | None = None) -> list[float]:
    """What became of each probe."""
    return [one.value or 0.0 for one in ask_probes(policy, adapter, chosen=some(limit=PROBES))]


def always_on(s: Stream, adapter: Adapter, tokens: int) -> Found:
    """What one adapter for all documents comes to, whatever is asked."""
    scores = direct(s.policy, s.tasks, [adapter])
    same = unchanged(everyday_answers(s.policy), everyday_answers(s.policy, adapter))
    return Found(scores, scores, same, abilities(s.policy, adapter), tokens)
