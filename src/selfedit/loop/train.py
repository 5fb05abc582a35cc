"""`selfedit train`: each round the policy is trained on the best of its own self-edits, and measured on documents it never learns from."""

from __future__ import annotations

import random
from collections.abc import Sequence

from selfedit.algorithms.base import imitated, outer_job
from selfedit.guards import RoundSeen, judge
from selfedit.ledger import Reader
from selfedit.loop.begin import check_lengths
from selfedit.loop.evaluate import baselines_after, baselines_before, directives_of, gold, held_out_tasks, policy_row, validates
from selfedit.loop.round import learn, one_round
from selfedit.loop.run import Run
from selfedit.loop.search import search
from selfedit.policy import Policy
from selfedit.store.artifacts import check, seal
from selfedit.strategies import demonstrate, parts
from selfedit.tasks.base import named_apart
from selfedit.types import Artifact, Demonstration, Passage, Progress, Result, Round, Task, Update, Verdict


def train_policy(run: Run, passages: Sequence[Passage], held_out: Sequence[Passage], shown: Sequence[Demonstration] = ()) -> None:
    """Learn to write self-edits. `shown` are the good ones of a cold start."""
    policy, algorithm = run.policy, run.recipe.open("algorithm")
    check_lengths(run, [*passages, *held_out])
    tasks = run.step("tasks", Task, "Preparing questions", lambda progress: policy.domain.tasks(policy, passages, "train", progress, gold=gold(run)))
    exams = held_out_tasks(run, named_apart(held_out, tasks))
    start = baselines_before(run, exams)
    measured: list[Sequence[Result]] = [start.own]  # of the policy as each round begins
    cold = int(run.recipe.cold_start.enabled)
    if cold:
        warm_up(run, shown)
        measured = [policy_row(run, exams, 1, "cold_start", start.strategy, validates(run))]
    if not algorithm.trains:
        found = search(run, algorithm, tasks)
        final = policy_row(run.writing_as(found), exams, cold + 1, "best_strategy", found.strategy)
        return baselines_after(run.writing_as(found), exams, start, final, directives_of(run.writing_as(found), found))
    rounds: list[Round] = []
    update: Update | None = None
    while len(rounds) < run.recipe.rounds:
        rounds.append(one_round(run, of_round(policy, tasks, len(rounds)), len(rounds), algorithm))
        if stopped(run, rounds, measured):
            break
        update = learn(run, rounds, update)
        measured.append(policy_row(run, exams, cold + len(rounds), f"round-{len(rounds)}", start.strategy, validates(run)))
    return baselines_after(run, exams, start, measured[-1])


def of_round(policy: Policy, tasks: Sequence[Task], number: int) -> Sequence[Task]:
    """The tasks of a round, in their old order. A pass over all of them is cut into whole rounds; what is left over waits for the next shuffle."""
    size = policy.recipe.round_passages
    if not 0 < size < len(tasks):
        return tasks
    epoch, place = divmod(number, len(tasks) // size)
    shuffled = random.Random(policy.seed("passages", epoch)).sample(range(len(tasks)), len(tasks))
    return [tasks[i] for i in sorted(shuffled[place * size : (place + 1) * size])]


def stopped(run: Run, rounds: Sequence[Round], measured: Sequence[Sequence[Result]]) -> bool:
    """Whether a guard ends the run: their verdicts on the last round. `measured` are answers of the policy as each round began."""
    before, then = (rounds[-2], measured[-2]) if len(rounds) > 1 else (None, ())
    with Reader(run.ledger.folder) as reader:
        cost = reader.cost()
    seen = RoundSeen(before, rounds[-1], then, measured[-1], cost, sum(len(one.candidates) for one in rounds))
    found = judge(run.recipe.open_all("guard", run.recipe.guards), "round", seen)
    if not found:
        return False
    verdicts = run.step(f"round-{len(rounds) - 1}/guards", Verdict, "Checking the round", lambda _: found)
    return any(verdict.decision == "stop" for verdict in verdicts)


def warm_up(run: Run, shown: Sequence[Demonstration]) -> None:
    """The cold start: supervised fine-tuning on good self-edits, in the very form in which the policy will be asked for its own."""
    policy, settings, name = run.policy, run.recipe.cold_start, "policy/cold_start"
    strategies = dict.fromkeys(part for choice in run.recipe.propose.strategies for part in parts(choice))

    def work(progress: Progress) -> list[Artifact]:
        turns = [turn for s in strategies for one in shown for turn in demonstrate(one, s, policy.chat)]
        job = outer_job(settings, imitated([policy.render.written(turn) for turn in turns]), policy.seed("cold start"))
        run.train_policy(job, name, progress)
        return [seal(run.ledger.folder, name)]

    [sealed] = run.step("cold-start", Artifact, "Showing the policy good self-edits", work)
    policy.merge(check(run.ledger.folder, sealed))
    policy.begin()
