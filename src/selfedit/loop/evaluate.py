"""The comparison of `train` and `eval`: each row trains adapters in its own way, and all answer the same report questions.

A row under one seed on some of the documents is a step of the ledger, so that none is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from selfedit.algorithms.rest_em import best as best_of_each
from selfedit.baselines import Baseline, Edits, Measurement, Start
from selfedit.baselines.base import matched
from selfedit.config import MOST_CHOICES, Propose
from selfedit.loop.begin import check_lengths
from selfedit.loop.harvest import harvest, learned
from selfedit.loop.round import answer_base, answers_before, scored
from selfedit.loop.run import Run
from selfedit.loop.vector_ground import applied
from selfedit.policy import Asked, Policy, proposing
from selfedit.policy.shelf import Shelf
from selfedit.types import (
    Adapter,
    Answer,
    Directives,
    Example,
    Harvested,
    Passage,
    Progress,
    Proposal,
    Question,
    Result,
    Round,
    SelfEdit,
    Task,
    Trained,
    TrainJob,
    Variant,
    VectorEdit,
)

STRIDE = MOST_CHOICES
"""Numbers of self-edits kept free for each seed: as many as `propose.candidates` and the choices of strategies may be."""

Plan = Callable[[Task, int], Sequence[Measurement]]
"""What a row does with a task under a seed."""


def evaluate(run: Run, passages: Sequence[Passage], updates: Sequence[Path] = (), found: Variant | None = None) -> None:
    """The untrained model and, given the adapters of a policy in their order, the policy after each; last the strategy that a search found."""
    check_lengths(run, passages)
    tasks = held_out_tasks(run, passages)
    start = baselines_before(run, tasks)
    final = start.results
    for number, folder in enumerate(updates, start=1):
        run.policy.merge(folder)
        final = policy_row(run, tasks, number, folder.name, start.strategy)
    if found:
        run = run.writing_as(found)
        final = policy_row(run, tasks, len(updates) + 1, "best_strategy", found.strategy)
    baselines_after(run, tasks, start, final, directives_of(run, found))


def held_out_tasks(run: Run, passages: Sequence[Passage]) -> list[Task]:
    """Tasks of documents that nobody learns from."""
    title = "Preparing held-out questions"
    return run.step("held-out", Task, title, lambda progress: run.policy.domain.tasks(run.policy, passages, "heldout", progress, gold=gold(run)))


def gold(run: Run) -> bool:
    """Whether every reward question needs a known answer."""
    return bool(run.policy.reward.needs().gold or run.recipe.open("prefilter").selective)


def policy_row(run: Run, tasks: Sequence[Task], number: int, name: str, strategy: str, validate: bool = False) -> list[Result]:
    """The policy after `number` updates as a row: one unselected self-edit of each task, and an adapter on it.

    `validate` asks the reward questions of the held-out documents too, by which a guard compares rounds; they are no result that is reported.
    """
    edits = policy_edits(run, tasks, number, name, strategy)

    def plan(task: Task, seed: int) -> list[Measurement]:
        asked = (*task.report_questions, *(task.reward_questions if validate else ()))
        return [edited(run, task, seed, edits[task.id, seed][0].edit, asked)]

    return row(run, name, tasks, plan)


def policy_edits(run: Run, tasks: Sequence[Task], number: int, name: str, strategy: str) -> dict[tuple[str, int], list[Proposal]]:
    """The self-edits of a row of the policy, written with the strategy unless it picks. What it picks before any update has numbers beyond those of
    `untrained`."""
    propose = run.recipe.propose
    settings = propose.model_copy(update={"candidates": 1}) if propose.policy_picks else in_turn(propose, (strategy,), 1)
    return write(run, name, tasks, number, settings, first=0 if number else STRIDE * run.recipe.eval.seeds)


def vector_rows(run: Run, tasks: Sequence[Task], number: int, name: str, strategy: str, vectors: Mapping[str, VectorEdit]) -> None:
    """Two rows of edit vectors, given by task: alone, and each added to the adapter that row `name` of the policy has for the task."""
    edits = policy_edits(run, tasks, number, name, strategy)
    row(run, "vector_alone", tasks, lambda task, _: [Measurement(None, task.report_questions, vector=vectors[task.id])])

    def both(task: Task, seed: int) -> list[Measurement]:
        return [replace(edited(run, task, seed, edits[task.id, seed][0].edit, task.report_questions), vector=vectors[task.id])]

    row(run, "data_and_vector", tasks, both)


def harvest_row(run: Run, tasks: Sequence[Task], number: int, name: str, strategy: str) -> None:
    """A row of the self-edits of row `name` and of what their adapters answer to fresh questions, trained on for as many tokens as that row."""
    edits, nothing = policy_edits(run, tasks, number, name, strategy), Shelf(run.ledger.folder / "candidates")
    title, found = "Harvesting what the adapters answer to fresh questions", dict[tuple[str, int], list[Example]]()

    def alone(task: Task, seed: int) -> Measurement:
        return edited(run, task, seed, edits[task.id, seed][0].edit, task.report_questions)

    def fresh(seed: int, some: Sequence[Task], progress: Progress) -> list[Harvested]:
        jobs = {task.id: job for task in some if (job := alone(task, seed).job)}
        return harvest(run, jobs, [task for task in some if task.id in jobs], nothing, progress, seed)

    for seed in range(run.recipe.eval.seeds):
        harvested = run.steps(f"evaluate/with_harvest/harvest/{seed}-", Harvested, title, tasks, partial(fresh, seed))
        found |= {(task.id, seed): learned(run, harvested, task) for task in tasks}

    def both(task: Task, seed: int) -> list[Measurement]:
        one, more = alone(task, seed), found[task.id, seed]
        if one.job is None or one.edit is None or not more:
            return [one]
        material = (*run.policy.material(task, one.edit, task.report_questions, seed), *more)
        return [replace(one, job=matched(job(run, task, seed, material, one.edit.directives), one.job.tokens))]

    row(run, "with_harvest", tasks, both)


# ---------------------------------------------------------------- baselines


def baselines_before(run: Run, tasks: Sequence[Task]) -> Start:
    """The rows of `eval.baselines` that begin with the untrained model; measured before anything is merged into it."""
    recipe = run.recipe
    asked = recipe.rows
    strategies, K = recipe.propose.choices, recipe.propose.candidates
    most = max((one.needs_edits for one in asked), default=0)
    number = (0, len(strategies), max(len(strategies), K))[most]
    edits = write(run, "untrained", tasks, 0, in_turn(recipe.propose, strategies, number)) if number else {}
    comparison = Rows(run, tasks, edits)
    start = Start(strategies[0])
    for one in _in_order(asked):
        if one.when == "before":
            start = one.measure(replace(comparison, start=start)) or start
    if recipe.propose.policy_picks:
        start = replace(start, own=policy_row(run, tasks, 0, "untrained_picks", start.strategy, validates(run)))
    return replace(start, edits=edits)


def baselines_after(run: Run, tasks: Sequence[Task], start: Start, final: Sequence[Result], directives: Directives = ()) -> None:
    """The rows of `eval.baselines` that match the final row, over the same weights."""
    comparison = Rows(run, tasks, start.edits or {}, final, directives, start)
    for one in _in_order(run.recipe.rows):
        if one.when == "after":
            one.measure(comparison)


def _in_order(baselines: Sequence[Baseline]) -> list[Baseline]:
    """In the order of the table."""
    return sorted(baselines, key=lambda one: one.place)


def validates(run: Run) -> bool:
    """Whether rounds are compared on validation questions: where the reward is a vote, which can rise while answers get worse; or for a guard."""
    return bool(run.policy.reward.needs().samples) or any(one.validates for one in run.recipe.open_all("guard", run.recipe.guards))


def directives_of(run: Run, variant: Variant | None) -> Directives:
    """Settings of the inner loop that the self-edits of a variant carry."""
    return run.policy.strategy(variant.strategy).directives if variant and variant.parent is not None else ()


@dataclass(frozen=True)
class Rows:
    """What baselines are measured with: `selfedit.baselines.Comparison`."""

    run: Run
    tasks: Sequence[Task]
    edits: Edits
    final: Sequence[Result] = ()
    directives: Directives = ()
    start: Start | None = None

    @property
    def policy(self) -> Policy:
        """The run's."""
        return self.run.policy

    def row(self, name: str, plan: Plan) -> list[Result]:
        """Every task under every seed."""
        return row(self.run, name, self.tasks, plan)

    def job(self, task: Task, seed: int, examples: Sequence[Example]) -> TrainJob:
        """With the directives of the final row's self-edits."""
        return job(self.run, task, seed, examples, self.directives)

    def edited(self, task: Task, seed: int, edit: SelfEdit) -> Measurement:
        """With its own directives, or those of the final row's self-edits where it has none."""
        return edited(self.run, task, seed, replace(edit, directives=edit.directives or self.directives), task.report_questions)

    def leave_out(self, name: str, reason: str) -> None:
        """A note of the ledger."""
        self.run.ledger.note(f"left out: {name}", reason)

    def answer_base(self, name: str) -> None:
        """A step of its own."""
        answer_base(self.run, name, self.tasks)

    def best_of_k(self, K: int) -> Mapping[tuple[str, int], Proposal]:
        """Without any reward of a task's self-edits, it is missing."""
        run, recipe, best = self.run, self.run.recipe, dict[tuple[str, int], Proposal]()
        base = answers_before(run, "evaluate/best_of_k/base", self.tasks)
        for seed in range(recipe.eval.seeds):
            own = range(seed * recipe.inner_seeds, (seed + 1) * recipe.inner_seeds)
            written = [edit for task in self.tasks for edit in self.edits[task.id, seed][:K]]
            candidates = scored(run, self.tasks, written, base, f"evaluate/best_of_k/candidates/{seed}-", seeds=own)
            chosen = Round(0, tuple(candidates), tuple(best_of_each(candidates, 1))).chosen
            best |= {(edit.task_id, seed): edit for edit in chosen}
        return best

    def untrained(self) -> Start:
        """Judged by the reward questions, where there are several strategies."""
        strategies = tuple(dict.fromkeys(self.run.recipe.propose.choices))
        if len(strategies) == 1:
            results = self.row("untrained", self._first(strategies[0], choosing=False))
            return Start(strategies[0], results, results)
        found = {strategy: self.row(strategy, self._first(strategy, choosing=True)) for strategy in strategies}
        best = max(strategies, key=lambda strategy: _correct(r for r in found[strategy] if r.role == "reward"))
        same = [replace(r, row="untrained") for r in found[best] if r.role == "report"]
        results = self.run.step("evaluate/untrained", Result, f"The best strategy is {best}", lambda _: same)
        return Start(best, results, found[best])

    def _first(self, strategy: str, choosing: bool) -> Plan:
        """An adapter on the first self-edit of a strategy, that is asked the reward questions too where they choose between strategies."""

        def plan(task: Task, seed: int) -> list[Measurement]:
            first = next(p for p in self.edits[task.id, seed] if p.edit.strategy == strategy)
            asked = (*task.report_questions, *(task.reward_questions if choosing or validates(self.run) else ()))
            return [edited(self.run, task, seed, first.edit, asked)]

        return plan


# ---------------------------------------------------------------- rows


def write(run: Run, name: str, tasks: Sequence[Task], number: int, settings: Propose, first: int = 0) -> dict[tuple[str, int], list[Proposal]]:
    """Self-edits of the policy after `number` updates, of every task under every seed, numbered from `first`."""
    written: dict[tuple[str, int], list[Proposal]] = {}

    def propose(seed: int, some: Sequence[Task], progress: Progress) -> list[Proposal]:
        return proposing.propose(run.policy, some, number, settings, progress, first=first + STRIDE * seed)

    for seed in range(run.recipe.eval.seeds):
        title = f"Writing self-edits ({name}, seed {seed + 1})"
        for edit in run.steps(f"evaluate/{name}/edits/{seed}-", Proposal, title, tasks, partial(propose, seed)):
            written.setdefault((edit.task_id, seed), []).append(edit)
    return written


def in_turn(propose: Propose, strategies: Sequence[str], candidates: int) -> Propose:
    """So many self-edits of each task, with strategies in turn."""
    return propose.model_copy(update={"strategies": tuple(strategies), "candidates": candidates, "pick": "turns", "mix": 1})


def row(run: Run, name: str, tasks: Sequence[Task], plan: Plan) -> list[Result]:
    """A row on all tasks under all seeds."""

    results: list[Result] = []
    for seed in range(run.recipe.eval.seeds):
        title = f"Training and asking ({name}, seed {seed + 1})"
        results += run.steps(f"evaluate/{name}/{seed}-", Result, title, tasks, partial(cell, run, name, seed, plan))
    return results


def cell(run: Run, name: str, seed: int, plan: Plan, tasks: Sequence[Task], progress: Progress) -> list[Result]:
    """Adapters for each task, and their answers. Tokens are those of one adapter: the mean, where a task has several."""
    planned = [(task, one) for task in tasks for one in plan(task, seed)]
    jobs = {place: one.job for place, (_, one) in enumerate(planned) if one.job}
    with run.policy.adapters(list(jobs.values()), progress, f"training failed in row {name}") as made:
        by_place = dict(zip(jobs, made, strict=True))
        trained = [by_place.get(place, Trained(None, (), 0)) for place in range(len(planned))]
        with edited_further(run, [(t.adapter, one.vector) for t, (_, one) in zip(trained, planned, strict=True)]) as adapters:
            sets = [Asked(adapter, task, one.questions, edit=one.edit) for adapter, (task, one) in zip(adapters, planned, strict=True)]
            answered = run.policy.answer(sets, progress)
    results = []
    for task in tasks:
        own = [(t, answers) for (of, _), t, answers in zip(planned, trained, answered, strict=True) if of is task]
        tokens, ranked = round(sum(t.tokens for t, _ in own) / len(own)), sorted((answers for _, answers in own), key=_rightness)
        said = {answer.question: answer for answers in ranked for answer in answers}
        results.append(Result(name, task.id, tuple(said[q] for q in task.report_questions), tokens, "report", seed))
        if any(q in said for q in task.reward_questions):
            results.append(Result(name, task.id, tuple(said[q] for q in task.reward_questions), tokens, "reward", seed))
    return results


@contextmanager
def edited_further(run: Run, pairs: Sequence[tuple[Adapter | None, VectorEdit | None]]) -> Iterator[list[Adapter | None]]:
    """Each adapter with the edit vector that is added to it, if there is one, until the end of the block."""
    with applied(run, [vector for _, vector in pairs if vector], [adapter for adapter, vector in pairs if vector]) as made:
        rest = iter(made)
        yield [next(rest) if vector else adapter for adapter, vector in pairs]


def _rightness(answers: Sequence[Answer]) -> tuple[int, float]:
    """How many answers of an adapter are right, and how likely the right ones are to it."""
    return sum(answer.correct is True for answer in answers), sum(answer.gold_logprob or 0.0 for answer in answers)


def job(run: Run, task: Task, seed: int, examples: Sequence[Example], directives: Directives = ()) -> TrainJob:
    """An adapter's own seed says nothing of the row: of all rows, adapters of one task and seed begin alike."""
    return run.policy.job(examples, run.policy.seed("evaluate", task.id, seed), directives)


def edited(run: Run, task: Task, seed: int, edit: SelfEdit, asked: tuple[Question, ...]) -> Measurement:
    """An adapter on what the domain makes of a self-edit; none where it has a problem: a policy that writes such a one has nothing to show for it."""
    edit = run.policy.checked(task, edit)
    if edit.problem:
        return Measurement(None, asked)
    return Measurement(job(run, task, seed, run.policy.material(task, edit, asked, seed), edit.directives), asked, edit)


def _correct(results: Iterable[Result]) -> int:
    """Right answers, of those that anybody knows."""
    return sum(answer.correct is True for result in results for answer in result.answers)
