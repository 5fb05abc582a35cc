"""`selfedit learn`: the best self-edit of each document is kept, an adapter is trained on it, and a gate learns which questions it is for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from selfedit.baselines.base import matched
from selfedit.errors import EngineError
from selfedit.grouping import grouped
from selfedit.guards import AdapterSeen, judge
from selfedit.library import NOBODY, Adapters, Document, Entry, Library, calibrate, in_use, request, routes
from selfedit.loop.begin import check_lengths
from selfedit.loop.evaluate import gold
from selfedit.loop.harvest import harvest, learned
from selfedit.loop.round import all_failed, answer_base, answers_before, one_round
from selfedit.loop.run import Run, chunks
from selfedit.loop.shrink import shrink_adapters
from selfedit.policy import Asked
from selfedit.policy.shelf import Shelf
from selfedit.retention import everyday
from selfedit.retention.everyday import LONGEST
from selfedit.store.artifacts import check as sealed
from selfedit.store.artifacts import digest_of, seal
from selfedit.store.identity import anywhere, model_of
from selfedit.types import Artifact, Example, Harvested, Passage, Progress, Proposal, Question, Result, Routed, Task, TrainJob, Verdict

DRAFTS = "adapters.new"
"""Where adapters are written before their names are known."""


@dataclass(frozen=True)
class Group:
    """Tasks that share an adapter, as documents of the library, and its training; where something was harvested, also what it would be `without`."""

    tasks: tuple[Task, ...]
    documents: tuple[Document, ...]
    job: TrainJob
    without: TrainJob | None = None


def learn_documents(run: Run, passages: Sequence[Passage]) -> None:
    """Learn documents. One none of whose self-edits could be chosen is learned as it is. Raises EngineError where every training failed."""
    policy = run.policy
    check_lengths(run, passages)
    tasks = run.step("tasks", Task, "Preparing questions", lambda progress: policy.domain.tasks(policy, passages, "learn", progress, gold=gold(run)))
    answer_base(run, "base", tasks)
    able = [task for task in tasks if task.reward_questions or policy.reward.needs().texts]
    policy.shelf = Shelf(run.ledger.folder / "candidates")
    round_ = one_round(run, able, 0, run.recipe.open("algorithm"))
    kept, policy.shelf = policy.shelf, None
    if all_failed(round_.candidates):
        raise EngineError("no self-edit could be kept: every training failed; `selfedit report` shows why (lower inner.optimizer.lr?)")
    groups = harvested(run, tasks, round_.chosen, kept)
    measure_baselines(run, groups, kept)
    library = train_adapters(run, groups, kept)
    kept.clear()
    shrink_adapters(run, library)
    with Adapters(policy.engine, library) as adapters:
        routed = run.step("routes", Routed, "Calibrating the gate", lambda progress: route_questions(run, adapters, tasks, progress))
        run.step("compare", Result, "Asking what was learned", lambda progress: answer_routed(run, groups, adapters, routed, progress))
        run.step("guards", Verdict, "Checking what else changed", lambda progress: check(run, groups, adapters, progress))


def groups_of(run: Run, tasks: Sequence[Task], best: Sequence[Proposal], more: Mapping[str, Sequence[Example]] = MappingProxyType({})) -> list[Group]:
    """Tasks that share an adapter, each with the best of its self-edits, or its passage where it has none, and with `more` examples."""
    edits = {edit.task_id: edit for edit in best}

    def document(task: Task) -> Document:
        own = edits[task.id].edit.examples if task.id in edits else (run.policy.domain.passage(task),)
        return Document.of(task, (*own, *more.get(task.id, ())))

    groups = chunks(tasks, run.recipe.library.group or len(tasks))
    return [group(run, some, [document(task) for task in some], edits.get(some[0].id)) for some in groups]


def group(run: Run, tasks: Sequence[Task], documents: Sequence[Document], edit: Proposal | None = None) -> Group:
    """One adapter on the examples of these documents. Of a single one it is trained as the candidate was, so that it need not be trained again."""
    policy, examples = run.policy, tuple(dict.fromkeys(example for document in documents for example in document.examples))
    if len(tasks) == 1 and edit is not None:
        return Group(tuple(tasks), tuple(documents), policy.job(examples, policy.inner_seed(edit, 0), edit.edit.directives))
    return Group(tuple(tasks), tuple(documents), policy.job(examples, policy.seed("learn", tasks[0].id)))


def harvested(run: Run, tasks: Sequence[Task], best: Sequence[Proposal], kept: Shelf) -> list[Group]:
    """The groups with what their adapters' own answers to fresh questions add to them, where the recipe asks for it."""
    groups = groups_of(run, tasks, best)
    if not run.recipe.harvest.questions:
        return groups
    jobs, title = {task.id: one.job for one in groups for task in one.tasks}, "Harvesting what the adapters answer to fresh questions"
    found = run.step("harvest", Harvested, title, lambda progress: harvest(run, jobs, tasks, kept, progress))
    run.watch.say(f"{sum(one.used for one in found)} of {sum(not one.known for one in found)} answers to fresh questions are learned")
    if not any(one.used for one in found):
        return groups
    grown = groups_of(run, tasks, best, {task.id: learned(run, found, task) for task in tasks})
    return [replace(new, without=matched(old.job, new.job.tokens)) for old, new in zip(groups, grown, strict=True)]


def measure_baselines(run: Run, groups: Sequence[Group], kept: Shelf) -> None:
    """The recipe's rows beside the result, each with an adapter for the same documents; questions are put to the right one.

    Final adapters that are not `kept` yet are trained in the same call, so that no core idles beside them, and kept.
    """
    policy, seed = run.policy, run.recipe.seed
    baselines = run.recipe.open_all("baseline", run.recipe.eval.baselines)
    jobs = {
        (one.settings.part, n): job
        for one in baselines
        for n, group in enumerate(groups)
        if (job := one.together(policy, group.tasks, seed, group.job)) is not None
    }
    jobs |= {("without_harvest", n): group.without for n, group in enumerate(groups) if group.without}

    def work(progress: Progress) -> list[Result]:
        final = [group.job for group in groups if kept.find(group.job) is None][: kept.room] if jobs else []
        with policy.adapters([*jobs.values(), *final], progress) as trained:
            measured = trained[: len(jobs)]
            if failed := next((t.failure for t in measured if t.failure), None):
                raise EngineError(f"the adapter of a baseline could not be trained: {failed}")
            kept.put(policy.engine, final, trained[len(jobs) :])
            asked = [(name, t, task) for (name, n), t in zip(jobs, measured, strict=True) for task in groups[n].tasks]
            answers = policy.answer([Asked(t.adapter, task, task.report_questions) for _, t, task in asked], progress)
        return [Result(name, task.id, a, t.tokens) for (name, t, task), a in zip(asked, answers, strict=True)]

    run.step("baselines", Result, "Training what the result is compared with", work)


# ---------------------------------------------------------------- adapters


def train_adapters(run: Run, groups: Sequence[Group], kept: Shelf) -> Library:
    """An adapter for each group, in the run's own library; those that are `kept` are taken as they are.

    Raises EngineError where one cannot be trained.
    """
    policy, folder = run.policy, run.ledger.folder
    library, drafts = Library(folder), [folder / DRAFTS / str(n) for n in range(len(groups))]

    def work(progress: Progress) -> list[Artifact]:
        shutil.rmtree(library.folder, ignore_errors=True)
        shutil.rmtree(folder / DRAFTS, ignore_errors=True)
        found = [kept.find(one.job) for one in groups]
        missing = [n for n, place in enumerate(found) if place is None]
        with policy.adapters([groups[n].job for n in missing], progress, "a final adapter could not be trained") as trained:
            for n, one in zip(missing, trained, strict=True):
                run.export(one, f"{DRAFTS}/{n}")
        entries = [
            Entry(digest_of(at), at, one.documents, model_of(folder, run.recipe), anywhere(run.recipe), folder.name)
            for at, one in zip([place or draft for place, draft in zip(found, drafts, strict=True)], groups, strict=True)
        ]
        library.add(entries, note=folder.name)
        shutil.rmtree(folder / DRAFTS, ignore_errors=True)
        return [seal(folder, library.adapter(one.id).relative_to(folder).as_posix(), one.documents[0].title) for one in entries]

    for artifact in run.step("adapters", Artifact, "Training an adapter for each document", work):
        sealed(folder, artifact)
    return library


def named(library: Library, groups: Sequence[Group]) -> list[tuple[str, Group]]:
    """The groups with the names of their adapters in force."""
    holder = {document.id: entry.id for entry in library.entries() for document in entry.documents}
    return [(holder[group.documents[0].id], group) for group in groups]


# ---------------------------------------------------------------- who answers what


def route_questions(run: Run, adapters: Adapters, tasks: Sequence[Task], progress: Progress) -> list[Routed]:
    """Calibrate the gate on reward questions and everyday prompts; then say who answers all questions, and other everyday prompts.

    Everyday prompts that do not get in are answered by the untrained model, word for word.
    """
    policy = run.policy
    calibrate(adapters, [q.question for task in tasks for q in task.reward_questions])
    asked = [(task.id, q.question) for task in tasks for q in (*task.reward_questions, *task.report_questions)]
    asked += [("", one.prompt) for one in everyday("check")]
    found = routes(adapters, [question for _, question in asked])
    named = {Document(task.title, task.context).id: task.id for task in tasks}
    routed = [Routed(q, about, named[r.found.document.id] if r.found else "", r.score) for (about, q), r in zip(asked, found, strict=True)]
    inside = [n for n, (one, route) in enumerate(zip(routed, found, strict=True)) if not one.about and route.found]
    put = [request(policy, adapters, who, routed[n].question, LONGEST) for n in inside for who in (found[n], NOBODY)]
    answers = chunks(policy.sample(put, progress), 2)
    changed = {n: after.text != before.text for n, (after, before) in zip(inside, answers, strict=True)}
    return [one if one.about else replace(one, changed=changed.get(n, False)) for n, one in enumerate(routed)]


def answer_routed(run: Run, groups: Sequence[Group], adapters: Adapters, routed: Sequence[Routed], progress: Progress) -> list[Result]:
    """The report questions, asked of whoever the gate chose, as `ask` does: row `after`. The right adapters' own answers: row `right_adapter`."""
    home = {task.id: (name, task) for name, group in named(adapters.library, groups) for task in group.tasks}
    tokens = {task.id: group.job.tokens for group in groups for task in group.tasks}
    chosen = {(one.about, one.question): one.to for one in routed}
    asked = [(row, task, q) for row in ("right_adapter", "after") for _, task in home.values() for q in task.report_questions]

    def put(row: str, task: Task, question: Question) -> Asked:
        to = task.id if row == "right_adapter" else chosen[task.id, question.question]
        name, other = home.get(to, ("", replace(task, title="")))
        return Asked(adapters.load(name) if name else None, other, (question,))

    answers = run.policy.answer([put(*one) for one in asked], progress)
    found = grouped(((row, task.id), answer) for (row, task, _), (answer,) in zip(asked, answers, strict=True))
    return [Result(row, task, tuple(some), tokens[task]) for (row, task), some in found.items()]


# ---------------------------------------------------------------- whether it may be used


def check(run: Run, groups: Sequence[Group], adapters: Adapters, progress: Progress) -> list[Verdict]:
    """What the recipe's guards say of each adapter, but for those that shrink, which have spoken. They see no questions of the report."""
    policy, found = run.policy, named(adapters.library, groups)
    before = answers_before(run, "round-0/base", [task for group in groups for task in group.tasks if task.reward_questions])
    asked = [(name, task) for name, group in found for task in group.tasks if task.id in before]
    answers = policy.answer([Asked(adapters.load(name), task, task.reward_questions) for name, task in asked], progress)
    guards, verdicts = [one for one in run.recipe.open_all("guard", run.recipe.guards) if not one.shrinks], []
    behind = in_use(policy, adapters)
    for name, _ in found:
        own = [(task, before[task.id], after) for (of, task), after in zip(asked, answers, strict=True) if of == name]
        then, now = [answer for _, some, _ in own for answer in some], [answer for _, _, some in own for answer in some]
        tasks = [replace(task, report_questions=()) for task, _, _ in own]
        seen = AdapterSeen(policy, adapters.load(name), then, now, behind(name), tasks)
        verdicts += [replace(verdict, about=name) for verdict in judge(guards, "adapter", seen)]
    return verdicts
