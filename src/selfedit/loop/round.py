"""One round of SEAL (section 3.1) in five verbs: propose, adapt, score, select, learn. Read `one_round` and `learn` first.

Shapes: P tasks, K self-edits a task, S inner seeds (adapters a self-edit), Q reward questions a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, TypeVar

from selfedit.algorithms import Algorithm
from selfedit.algorithms.groups import groups
from selfedit.errors import EngineError
from selfedit.guards import CandidateSeen, judge
from selfedit.loop.prefilter import prefiltered
from selfedit.loop.run import Run, by_task, chunks
from selfedit.policy import Asked, Policy, proposing
from selfedit.prefilters import Base
from selfedit.rewards import Measured, Memory
from selfedit.types import (
    Adapter,
    Answer,
    Candidate,
    Example,
    Progress,
    Proposal,
    Result,
    Reward,
    Round,
    Selected,
    SelfEdit,
    Task,
    Trained,
    Update,
    Verdict,
)

T = TypeVar("T")


def one_round(run: Run, tasks_P: Sequence[Task], number: int, algorithm: Algorithm) -> Round:
    """The policy writes K self-edits a task; an adapter is trained on each, asked the reward questions and dropped; the algorithm selects."""
    candidates_PK = collect(run, tasks_P, number, answers_before(run, f"round-{number}/base", tasks_P), algorithm)
    selected = run.step(f"round-{number}/kept", Selected, "Selecting", lambda _: algorithm.select(candidates_PK))
    return Round(number, tuple(candidates_PK), tuple(selected))


def collect(run: Run, tasks_P: Sequence[Task], number: int, base_PQ: Base, algorithm: Algorithm, given: Sequence[str] = ()) -> list[Candidate]:
    """propose → adapt → score: self-edits with their rewards. `given`, where there are any, are their strategies."""
    edits_PK = propose(run, tasks_P, number, given)
    chosen_PK = prefiltered(run, tasks_P, edits_PK, base_PQ, f"round-{number}")  # all of them, unless the recipe has a prefilter
    return scored(run, tasks_P, chosen_PK, base_PQ, f"round-{number}/candidates-", algorithm, epochs=run.recipe.open("prefilter").epochs)


def learn(run: Run, rounds: Sequence[Round], before: Update | None) -> Update:
    """The policy is trained on what was selected, and goes on with what it learned. `before` is the last update."""
    algorithm, policy, last = run.recipe.open("algorithm"), run.policy, rounds[-1]
    name, starts_over = f"policy/round-{len(rounds)}", algorithm.starts_over(len(rounds), run.recipe.rounds)

    def work(progress: Progress) -> list[Update]:
        job = algorithm.data(policy, rounds, before)
        if job.data and starts_over:
            policy.reset()
        trained = run.train_policy(job, name, progress) if job.data else None
        return [described(last, run.recipe.algorithm.part, job.loss_options.get("kl", 0.0), trained)]

    [update] = run.step(f"round-{last.number}/update", Update, "Training the policy on its self-edits", work)
    if update.losses and starts_over:
        policy.reset()
    for adapter in run.sealed(f"round-{last.number}/policy", "Sealing the policy", [name] if update.losses else []):
        policy.merge(adapter)
    return update


# ---------------------------------------------------------------- propose, adapt, score


def propose(run: Run, tasks_P: Sequence[Task], number: int, given: Sequence[str] = ()) -> list[Proposal]:
    """K self-edits of every task. Says where they teach nothing but the passage."""
    settings, title = run.recipe.propose, "Writing self-edits"
    work = f"round-{number}/edits"
    edits_PK = run.step(work, Proposal, title, lambda progress: proposing.propose(run.policy, tasks_P, number, settings, progress, given=given))
    if empty := [edit.edit.strategy for edit in edits_PK if len(edit.edit.examples) == 1]:
        often = ", ".join(f"{name} {empty.count(name)}" for name in dict.fromkeys(empty))
        run.watch.say(f"{len(empty)} of {len(edits_PK)} self-edits teach nothing but the passage (by strategy: {often}); selfedit report shows why")
    if problems := [edit.edit.problem for edit in edits_PK if edit.edit.problem]:
        run.watch.say(f"{len(problems)} of {len(edits_PK)} self-edits are left unscored, as the first of them: {problems[0]}")
    return edits_PK


def answers_before(run: Run, name: str, tasks_P: Sequence[Task]) -> Base:
    """The current weights' own answers to the reward questions of each task, where the reward compares with them."""
    return answer_base(run, name, tasks_P, "reward") if run.policy.reward.needs().answers else {}


def answer_base(run: Run, name: str, tasks_P: Sequence[Task], role: Literal["report", "reward"] = "report") -> dict[str, tuple[Answer, ...]]:
    """The current weights' own answers to the questions of a role, by task."""
    title = "Asking before learning" if role == "report" else "Asking the questions that choose between self-edits"

    def work(progress: Progress) -> list[Result]:
        if role == "reward":
            answers = base_answers(run.policy, tasks_P, progress)
        else:
            answers = run.policy.answer([Asked(None, t, t.report_questions) for t in tasks_P], progress)
        return [Result("base", t.id, a, 0, role) for t, a in zip(tasks_P, answers, strict=True)]

    return {result.task_id: result.answers for result in run.step(name, Result, title, work)}


def base_answers(policy: Policy, tasks_P: Sequence[Task], progress: Progress | None = None) -> list[tuple[Answer, ...]]:
    """The current weights' own answers to the reward questions, (P, Q), as the reward compares them with those of adapters."""
    return policy.answer([Asked(None, task, task.reward_questions) for task in tasks_P], progress, policy.reward.needs().form)


@dataclass(frozen=True, slots=True)
class Adapted:
    """A self-edit with its S trained adapters."""

    edit: Proposal
    trained: tuple[Trained, ...]


def scored(
    run: Run,
    tasks_P: Sequence[Task],
    edits_PK: Sequence[Proposal],
    base_PQ: Base,
    name: str,
    algorithm: Algorithm | None = None,
    seeds: Sequence[int] = (),
    epochs: int | None = None,
) -> list[Candidate]:
    """Self-edits with their rewards, whole groups at a time: some rewards compare their members. `name` begins the names of the steps.

    An adapter is trained on each with every one of `seeds`, for `epochs`; both are the recipe's where not given.
    """
    if algorithm and algorithm.shares_adapters:
        batches, seeds = [list(edits_PK)], (0,)
    else:
        all_groups = by_task(edits_PK)
        size = max(1, run.recipe.chunk // max(map(len, all_groups), default=1))
        batches = [[e for group in some for e in group] for some in chunks(all_groups, size)]
        seeds = seeds or range(run.recipe.inner_seeds)
    candidates: list[Candidate] = []

    def step(i: int, batch: Sequence[Proposal]) -> list[Candidate]:
        title = f"Training and scoring self-edits {len(candidates) + 1} to {len(candidates) + len(batch)} of {len(edits_PK)}"
        return run.step(
            f"{name}{i}",
            Candidate,
            title,
            lambda progress: adapt_and_score(run.policy, tasks_P, batch, base_PQ, run.ledger, seeds, algorithm, epochs, progress),
        )

    for i, batch in enumerate(batches):
        candidates += step(i, batch)
    return candidates


def adapt_and_score(
    policy: Policy,
    tasks_P: Sequence[Task],
    edits_PK: Sequence[Proposal],
    base_PQ: Base,
    memory: Memory,
    seeds: Sequence[int],
    algorithm: Algorithm | None = None,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> list[Candidate]:
    """The inner loop on whole groups: train adapters in one batched multi-LoRA call, measure, score, drop them. `memory` keeps a judge's replies."""
    tasks = {task.id: task for task in tasks_P}
    usable_PK = [edit for edit in edits_PK if not edit.edit.problem]
    members = algorithm.members(usable_PK) if algorithm else [[edit] for edit in usable_PK]
    jobs_MS = []
    for member in members:
        material = [example for edit in member for example in trained_on(policy, tasks[edit.task_id], edit.edit)]
        if len(member) > 1 or (algorithm and algorithm.shares_adapters):
            jobs_MS += [policy.member_job(member, material)]
        else:
            [edit] = member
            jobs_MS += [policy.job(material, policy.inner_seed(edit, s), edit.edit.directives, epochs) for s in seeds]
    with policy.adapters(jobs_MS, progress) as trained_MS:
        trained = list(chunks(trained_MS, len(seeds)))
        adapted_PK = [Adapted(edit, tuple(group)) for member, group in zip(members, trained, strict=True) for edit in member]
        return score(policy, tasks, adapted_PK, base_PQ, memory, seeds, progress) + unscored(policy, edits_PK)


def trained_on(policy: Policy, task: Task, edit: SelfEdit) -> tuple[Example, ...]:
    """What an adapter is trained on that the reward asks: what the domain makes of the self-edit and what the task's adapters answered in earlier
    rounds, without what the reward withholds."""
    examples = (*policy.material(task, edit, task.reward_questions), *policy.gathered.get(task.id, ()))
    found: tuple[Example, ...] = policy.reward.material(task, replace(edit, examples=examples))
    return found


def unscored(policy: Policy, edits_PK: Sequence[Proposal]) -> list[Candidate]:
    """Those of the self-edits that have a problem, as candidates without a reward: nothing is trained on them."""
    return [Candidate(edit, Reward(None, policy.recipe.reward.part, edit.edit.problem)) for edit in edits_PK if edit.edit.problem]


def score(
    policy: Policy,
    tasks: Mapping[str, Task],
    adapted_PK: Sequence[Adapted],
    base_PQ: Base,
    memory: Memory,
    seeds: Sequence[int],
    progress: Progress | None = None,
) -> list[Candidate]:
    """Candidates with their rewards, in the order of the self-edits; unscored where a guard refused the training."""
    guards = policy.recipe.open_all("guard", tuple(dict.fromkeys(("training", *policy.recipe.guards))))
    verdicts = [tuple(judge(guards, "candidate", seen)) for seen in _seen(adapted_PK)]
    fine = [one for one, said in zip(adapted_PK, verdicts, strict=True) if not any(v.against for v in said)]
    measured = measure(policy, tasks, fine, base_PQ, seeds, progress)
    found = {id(one): pair for one, pair in zip(fine, zip(measured, policy.reward.score(measured, memory), strict=True), strict=True)}
    return [_candidate(policy, one, said, *found.get(id(one), (None, None))) for one, said in zip(adapted_PK, verdicts, strict=True)]


def _seen(adapted_PK: Sequence[Adapted]) -> list[CandidateSeen]:
    """What guards see of each candidate: its trainings, its self-edit, and the self-edits of its task before it."""
    earlier: dict[str, list[SelfEdit]] = {}
    found = []
    for one in adapted_PK:
        before = earlier.setdefault(one.edit.task_id, [])
        found.append(CandidateSeen(one.trained, one.edit.edit, tuple(before)))
        before.append(one.edit.edit)
    return found


def _candidate(policy: Policy, one: Adapted, verdicts: tuple[Verdict, ...], seen: Measured | None, reward: Reward | None) -> Candidate:
    losses, tokens = tuple(loss for t in one.trained for loss in t.losses), sum(t.tokens for t in one.trained)
    if seen is None or reward is None:
        refused = next(verdict.reason for verdict in verdicts if verdict.against)
        return Candidate(one.edit, Reward(None, policy.recipe.reward.part, refused), (), losses, tokens, verdicts)
    return Candidate(one.edit, reward, (*seen.answers, *seen.drawn), losses, tokens, verdicts)


def measure(
    policy: Policy, tasks: Mapping[str, Task], adapted: Sequence[Adapted], base_PQ: Base, seeds: Sequence[int], progress: Progress | None = None
) -> list[Measured]:
    """What the reward needs of each candidate, and nothing else; what its S adapters gave stands seed by seed."""
    needs, reward = policy.reward.needs(), policy.reward
    found = [Measured(replace(tasks[one.edit.task_id], report_questions=()), one.edit.edit) for one in adapted]
    each = [
        Asked(_adapter(t), tasks[one.edit.task_id], tasks[one.edit.task_id].reward_questions, policy.inner_seed(one.edit, s), edit=one.edit.edit)
        for one in adapted
        for s, t in zip(seeds, one.trained, strict=True)
    ]
    S = len(seeds)
    if needs.answers:
        answers = _joined(policy.answer(each, progress, needs.form), S)
        found = [replace(m, answers=a, base_answers=tuple(base_PQ[m.task.id])) for m, a in zip(found, answers, strict=True)]
    if needs.samples:
        drawn = _joined(policy.draw(each, needs.samples, needs.temperature, progress), S)
        found = [replace(m, drawn=a) for m, a in zip(found, drawn, strict=True)]
    if needs.texts:
        hidden = {one.task.id: (one.task, reward.texts(one.task)) for one in each}
        before = dict(zip(hidden, policy.expect([(None, *pair) for pair in hidden.values()], progress), strict=True))
        after = _joined(policy.expect([(one.adapter, *hidden[one.task.id]) for one in each], progress), S)
        found = [replace(m, texts=a, texts_before=before[m.task.id]) for m, a in zip(found, after, strict=True)]
    return found


def _joined(each: Sequence[tuple[T, ...]], S: int) -> list[tuple[T, ...]]:
    """What a candidate's S adapters gave, together."""
    return [tuple(one for given in group for one in given) for group in chunks(each, S)]


def _adapter(trained: Trained) -> Adapter:
    assert trained.adapter is not None  # the guard of trainings has seen to it
    return trained.adapter


# ---------------------------------------------------------------- what the ledger says of an update


def described(last: Round, algorithm: str, kl: float, trained: Trained | None) -> Update:
    """What the ledger holds of an update; `trained` None where there was nothing to learn from. Raises EngineError where every training failed."""
    if all_failed(last.candidates):
        raise EngineError("no self-edit could be scored: every training failed; `selfedit report` shows why (lower inner.optimizer.lr?)")
    if not last.candidates:
        raise EngineError(
            "the prefilter could rate no self-edit of a round: all trainings failed (lower inner.optimizer.lr?), or nothing had a choice"
        )
    found = groups(last.candidates)
    skipped = len(found.keys() - {(one.round, one.task_id) for one in last.selected})
    metrics = {name: fmean(values) for name, values in trained.metrics.items()} if trained else {}
    losses = trained.losses if trained else ()
    return Update(last.number, algorithm, len(found), skipped, losses, metrics | ({"kl_coefficient": kl} if kl else {}))


def all_failed(candidates: Sequence[Candidate]) -> bool:
    """Whether a guard refused every one of them."""
    return bool(candidates) and not any(candidate.accepted for candidate in candidates)
