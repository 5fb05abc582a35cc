"""`selfedit consolidate`: one adapter, rebuilt from the untrained model on everything that the library holds."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.grouping import grouped
from selfedit.guards import AdapterSeen, judge
from selfedit.library import Adapters, Document, Found, Gate, Library, Route, gate_of, in_use, request, routes
from selfedit.loop.learn import group, train_adapters
from selfedit.loop.run import Run
from selfedit.loop.shrink import shrink_adapters
from selfedit.policy.shelf import Shelf
from selfedit.types import Answer, Progress, Question, Result, Task, Verdict

ROWS = ("library", "consolidated")


def consolidate(run: Run, library: Library, documents: Sequence[Document]) -> None:
    """Train one adapter on the self-edits of all documents, and compare it with the library on questions that nothing was trained on.

    The documents are in no order in which they could be forgotten. Raises EngineError where it cannot be trained.
    """
    tasks = [Task(one.id, one.title, one.context, reward_questions=one.questions) for one in documents]
    tasks = run.step("tasks", Task, "Reading the library", lambda _: tasks)
    rebuilt = train_adapters(run, [group(run, tasks, documents)], Shelf(run.ledger.folder / "candidates"))
    shrink_adapters(run, rebuilt)
    with Adapters(run.policy.engine, library) as before, Adapters(run.policy.engine, rebuilt) as after:
        results = run.step("compare", Result, "Comparing it with the library", lambda progress: compare(run, tasks, before, after, progress))
        gate = max(gate_of(library), gate_of(rebuilt), key=lambda one: one.threshold)  # as `put_in_force` chooses
        run.step("guards", Verdict, "Checking what else changed", lambda _: check(run, tasks, results, after, gate))


def compare(run: Run, tasks: Sequence[Task], before: Adapters, after: Adapters, progress: Progress) -> list[Result]:
    """Answers to the reward questions by the library as it is, asked as `ask` does, and by the new adapter; a row each."""
    asked = [(task, question) for task in tasks for question in task.reward_questions]
    routed = routes(before, [question.question for _, question in asked])
    [new] = after.library.entries()
    most = run.recipe.questions.max_tokens
    places = {document.id: Found(new.id, document) for document in new.documents}
    put = [request(run.policy, before, route, q.question, most) for route, (_, q) in zip(routed, asked, strict=True)]
    put += [request(run.policy, after, Route(places[task.id], None), q.question, most) for task, q in asked]
    texts = [completion.text.strip() for completion in run.policy.sample(put, progress)]
    answered = zip([(row, one) for row in ROWS for one in asked], texts, strict=True)
    found = grouped(((row, task.id), judged(run, question, text)) for (row, (task, question)), text in answered)
    return [Result(row, task, tuple(answers), role="reward") for (row, task), answers in found.items()]


def judged(run: Run, question: Question, text: str) -> Answer:
    """An answer with the local judge's verdict."""
    return Answer(question, text, run.policy.domain.correct(text, question))


def check(run: Run, tasks: Sequence[Task], results: Sequence[Result], adapters: Adapters, gate: Gate) -> list[Verdict]:
    """The guards of the recipe: `worse` compares the new adapter with the library, not with the untrained model."""
    before, after = ([answer for one in results if one.row == row for answer in one.answers] for row in ROWS)
    [name] = adapters.library.names()
    guards = [one for one in run.recipe.open_all("guard", run.recipe.guards) if not one.shrinks]
    seen = AdapterSeen(run.policy, adapters.load(name), before, after, in_use(run.policy, adapters, gate)(name), tasks)
    return judge(guards, "adapter", seen)
