"""A question to what was learned, and to the model as it came."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selfedit.ledger import Reader
from selfedit.policy.opening import open_policy
from selfedit.policy.opening import title as opened
from selfedit.store.identity import recipe_of, require_model
from selfedit.text import words
from selfedit.types import Completion, SampleRequest, Sampling, Task

if TYPE_CHECKING:
    from selfedit.loop.run import Watch


@dataclass(frozen=True, slots=True)
class Answers:
    """The topic a question was asked under (empty: none fitted), both answers, and the run whose adapter answered."""

    topic: str
    learned: str
    before: str
    run: str = ""


def ask(folder: Path, adapter: Path, question: str, topic: str | None, watch: Watch) -> Answers:
    """Ask as the run asked when it measured: greedy, without the documents. Raises SelfeditError where run, model or adapter cannot be opened.

    LedgerError where the model is no longer the one that was learned with.
    """
    with Reader(folder) as reader:
        recipe = recipe_of(reader)
        tasks = reader.tasks()
    title = choose_topic(question, tasks) if topic is None else topic
    with watch.stage(opened(recipe)):
        policy = open_policy(recipe, say=watch.say)
        require_model(folder, recipe)
        learned = policy.engine.load(adapter)
    prompt = policy.question(title, question)
    sampling = Sampling(max(64, recipe.questions.max_tokens), stop=policy.render.answer_stop)
    with watch.stage("Answering") as progress:
        with_, without = policy.sample([SampleRequest(prompt, sampling, who) for who in (learned, None)], progress)
    return Answers(title, _text(with_), _text(without), folder.name)


def _text(completion: Completion) -> str:
    return completion.text.strip() + (" …" if completion.finish_reason == "length" else "")


def choose_topic(question: str, tasks: Sequence[Task]) -> str:
    """The title of the task with most words in common with the question; rare words count more, and those of titles. Empty where none has any."""
    if not tasks:
        return ""
    asked = set(words(question))
    texts = [(set(words(task.title)), set(words(task.context))) for task in tasks]
    found_in = Counter(word for title, context in texts for word in (title | context) & asked)
    worth = {word: math.log(1 + len(tasks) / n) for word, n in found_in.items()}

    def common(title: set[str], context: set[str]) -> float:
        return 2 * sum(worth[word] for word in asked & title) + sum(worth[word] for word in asked & context)

    scores = [common(*text) for text in texts]
    best = max(range(len(tasks)), key=lambda i: scores[i])
    return tasks[best].title if scores[best] > 0 else ""
