"""Self-edits to rewards: trains adapters, measures what the recipe's reward needs of many at once, and nothing else, and forgets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from selfedit.engine.base import Progress
from selfedit.guards import training
from selfedit.policy import Policy
from selfedit.rewards import Measured, Memory, material, needs, reward, texts
from selfedit.types import Adapter, Answer, Candidate, Proposal, Reward, Task, Trained

T = TypeVar("T")
Group = Sequence[Trained]
"""The adapters of one candidate, one for each inner seed."""


def before(policy: Policy, tasks: Sequence[Task], progress: Progress | None = None) -> list[tuple[Answer, ...]]:
    """The current weights' own answers to the reward questions of each task, as the reward compares them with those of adapters."""
    return policy.answer([(None, task, task.reward_questions) for task in tasks], progress, needs(policy.recipe.reward).form)


def adapt(
    policy: Policy,
    tasks: Sequence[Task],
    proposals: Sequence[Proposal],
    base: Mapping[str, Sequence[Answer]],
    memory: Memory,
    seeds: Sequence[int],
    epochs: int | None = None,
    progress: Progress | None = None,
) -> list[Candidate]:
    """The inner loop: train one adapter for each of the `seeds` on every self-edit, measure, forget. Takes whole groups; for the rest see `score`."""
    by_id = {task.id: task for task in tasks}
    edits = [(p, material(policy.recipe.reward, by_id[p.task_id], p.edit)) for p in proposals]
    jobs = [policy.job(examples, policy.inner_seed(p, s), epochs) for p, examples in edits for s in seeds]
    with policy.adapters(jobs, progress) as trained:
        groups = [trained[i : i + len(seeds)] for i in range(0, len(trained), len(seeds))]
        return score(policy, by_id, list(zip(proposals, groups, strict=True)), base, memory, seeds, progress)


def score(
    policy: Policy,
    tasks: Mapping[str, Task],
    trained: Sequence[tuple[Proposal, Group]],
    base: Mapping[str, Sequence[Answer]],
    memory: Memory,
    seeds: Sequence[int],
    progress: Progress | None = None,
) -> list[Candidate]:
    """Candidates with their rewards, in the order of the proposals; unscored where an adapter failed. Takes whole groups.

    `base` are the current weights' answers to the reward questions, by task; `memory` is where a judge's replies are kept; `seeds` are the numbers of
    the inner seeds that each candidate's adapters have.
    """
    verdicts = [training(group) for _, group in trained]
    fine = [pair for pair, verdict in zip(trained, verdicts, strict=True) if verdict.decision == "accept"]
    measured = measure(policy, [(tasks[p.task_id], p, [_adapter(t) for t in group]) for p, group in fine], base, seeds, progress)
    settings = policy.recipe.reward
    scored = iter(zip(measured, reward(settings, measured, memory), strict=True))
    candidates = []
    for (proposal, group), verdict in zip(trained, verdicts, strict=True):
        losses, tokens = tuple(loss for t in group for loss in t.losses), sum(t.tokens for t in group)
        if verdict.decision == "accept":
            seen, value = next(scored)
            candidates.append(Candidate(proposal, value, (*seen.answers, *seen.drawn), losses, tokens, (verdict,)))
        else:
            candidates.append(Candidate(proposal, Reward(None, settings.type, verdict.reason), (), losses, tokens, (verdict,)))
    return candidates


def measure(
    policy: Policy,
    adapted: Sequence[tuple[Task, Proposal, Sequence[Adapter]]],
    base: Mapping[str, Sequence[Answer]],
    seeds: Sequence[int],
    progress: Progress | None = None,
) -> list[Measured]:
    """What the reward needs of each candidate; what its adapters gave stands one after the other."""
    wanted, settings = needs(policy.recipe.reward), policy.recipe.reward
    found = [Measured(replace(task, report_questions=()), p.edit) for task, p, _ in adapted]
    each = [(adapter, task, policy.inner_seed(p, s)) for task, p, adapters in adapted for s, adapter in zip(seeds, adapters, strict=True)]
    if wanted.answers:
        given = policy.answer([(adapter, task, task.reward_questions) for adapter, task, _ in each], progress, wanted.form)
        found = [replace(m, answers=a, base_answers=tuple(base[m.task.id])) for m, a in zip(found, _joined(given, len(found)), strict=True)]
    if wanted.samples:
        drawn = policy.draw(
            [(adapter, task, task.reward_questions, seed) for adapter, task, seed in each], wanted.samples, wanted.temperature, progress
        )
        found = [replace(m, drawn=a) for m, a in zip(found, _joined(drawn, len(found)), strict=True)]
    if wanted.texts:
        hidden = {task.id: (task, texts(settings, task)) for task, _, _ in adapted}
        before = dict(zip(hidden, policy.expect([(None, *pair) for pair in hidden.values()], progress), strict=True))
        after = policy.expect([(adapter, *hidden[task.id]) for adapter, task, _ in each], progress)
        found = [replace(m, texts=a, texts_before=before[m.task.id]) for m, a in zip(found, _joined(after, len(found)), strict=True)]
    return found


def _joined(each: Sequence[tuple[T, ...]], candidates: int) -> list[tuple[T, ...]]:
    """What a candidate's adapters gave, together."""
    seeds = len(each) // max(1, candidates)
    return [tuple(one for given in each[i * seeds : (i + 1) * seeds] for one in given) for i in range(candidates)]


def _adapter(trained: Trained) -> Adapter:
    assert trained.adapter is not None  # the guard has seen to it
    return trained.adapter
