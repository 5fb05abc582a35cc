"""`selfedit train`: each round the policy is trained on the best of its own self-edits, and measured on documents it never learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from selfedit.algorithms.base import imitated, outer_job
from selfedit.guards import RoundSeen, judge
from selfedit.ledger import Reader
from selfedit.loop.begin import check_lengths
from selfedit.loop.evaluate import baselines_after, baselines_before, directives_of, gold, harvest_row, held_out_tasks, policy_row, validates
from selfedit.loop.kept import Kept, gather, kept_of
from selfedit.loop.on_top import OnTop, begin_on_top, measure_on_top, turn
from selfedit.loop.round import learn, one_round
from selfedit.loop.run import Run, of_round
from selfedit.loop.search import search
from selfedit.policy.shelf import Shelf
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
    on_top = begin_on_top(run, tasks, exams)
    while len(rounds) < run.recipe.rounds:
        some, number = of_round(policy, tasks, len(rounds)), len(rounds)
        with keeping(run, number) as shelf:
            rounds.append(one_round(run, some, number, algorithm))
            on_top = after_round(run, kept_of(run, some, rounds[-1], shelf), on_top) if shelf else on_top
        if stopped(run, rounds, measured):
            break
        update = learn(run, rounds, update)
        measured.append(policy_row(run, exams, cold + len(rounds), f"round-{len(rounds)}", start.strategy, validates(run)))
    baselines_after(run, exams, start, measured[-1])
    return beside(run, exams, cold, len(measured) - 1, start.strategy, on_top)


@contextmanager
def keeping(run: Run, number: int) -> Iterator[Shelf | None]:
    """Where the adapters of a round are kept until the end of the block; None where nobody needs them after they were scored."""
    if not (run.recipe.added or run.recipe.harvest.questions):
        yield None
        return
    run.policy.shelf = shelf = Shelf(run.ledger.folder / f"candidates-{number}")
    yield shelf
    shelf.clear()


def after_round(run: Run, kept: Kept, on_top: OnTop | None) -> OnTop | None:
    """What is done with the best adapters of a round: edit vectors are learned on top of them, and for the next round they answer fresh questions."""
    run.policy.shelf = None
    if on_top:
        on_top = turn(on_top, kept)
    if run.recipe.harvest.questions and kept.number + 1 < run.recipe.rounds:
        gather(run, kept)
    return on_top


def beside(run: Run, exams: Sequence[Task], cold: int, updates: int, strategy: str, on_top: OnTop | None) -> None:
    """Rows beside the last one of the policy, with its self-edits: edit vectors, and what its adapters answer to fresh questions."""
    if not updates:
        return
    if on_top:
        measure_on_top(on_top, exams, cold + updates, f"round-{updates}", strategy)
    if run.recipe.harvest.questions:
        harvest_row(run, exams, cold + updates, f"round-{updates}", strategy)


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
