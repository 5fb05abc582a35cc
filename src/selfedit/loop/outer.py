"""The outer update: from self-edits that an algorithm chose, each with its advantage, to a training job of the policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from selfedit import algorithms
from selfedit.algorithms.groups import groups
from selfedit.config import DPO, Evolve, Outer, Recipe, RestEM
from selfedit.errors import EngineError
from selfedit.policy import Policy, derive
from selfedit.types import Candidate, Datum, Example, Proposal, ScoreRequest, Selected, Tokens, Trained, TrainJob, Turn, Update

Written = tuple[Tokens, Tokens]
"""What the policy was asked in one turn, and what it wrote."""

Lesson = tuple[Selected, Written]
"""One turn of a self-edit, and how much it counts."""


Round = tuple[Sequence[Candidate], Sequence[Selected]]
"""The self-edits of a round, and those that are learned from."""


def job(policy: Policy, rounds: Sequence[Round], before: Update | None) -> TrainJob:
    """What the policy is trained on after the last of `rounds`; without data where nothing was kept that it wrote itself.

    `before` is the last update.
    """
    if isinstance(policy.recipe.algorithm, Evolve):
        return _evolved(policy, policy.recipe.algorithm, rounds)
    candidates, kept = rounds[-1]
    return _rewarded(policy, candidates, kept, len(rounds) - 1, before)


def member_job(policy: Policy, member: Sequence[Proposal], examples: Sequence[Example]) -> TrainJob:
    """One LoRA of a population, on the data of all its self-edits; all members have one seed, so that their data alone tell them apart."""
    return policy.job(examples, derive(policy.recipe.seed, "member", member[0].round))


def cold_start_job(policy: Policy, turns: Sequence[Turn]) -> TrainJob:
    """Good self-edits, imitated."""
    recipe, settings = policy.recipe, policy.recipe.cold_start
    seed = derive(recipe.seed, "cold start")
    return TrainJob(
        tuple(_imitated([policy.wrote(turn) for turn in turns])), settings.lora, settings.optimizer, settings.epochs, settings.batch_size, seed
    )


def starts_over(recipe: Recipe, rounds: int) -> bool:
    """Whether the update after so many rounds fine-tunes the policy that they began with, in place of the one that they made."""
    algorithm = recipe.algorithm
    return rounds == recipe.rounds if isinstance(algorithm, Evolve) else isinstance(algorithm, RestEM) and algorithm.restart


def _evolved(policy: Policy, settings: Evolve, rounds: Sequence[Round]) -> TrainJob:
    """The best LoRA of the round once more; after the last round one on the data of every round's best, each example once."""
    best = [chosen(*each) for each in rounds]
    examples = [[e for p in member for e in p.edit.examples] for member in best]
    if not starts_over(policy.recipe, len(rounds)):
        return member_job(policy, best[-1], examples[-1]) if best[-1] else TrainJob(())
    data = tuple(map(policy.datum, dict.fromkeys(e for each in examples for e in each)))
    seed = derive(policy.recipe.seed, "accumulated")
    return TrainJob(data, settings.lora, settings.optimizer, settings.epochs, settings.batch_size, seed)


def chosen(candidates: Sequence[Candidate], kept: Sequence[Selected]) -> list[Proposal]:
    """The proposals that were kept."""
    wanted = {(one.task_id, one.round, one.index) for one in kept}
    return [p for p in (c.proposal for c in candidates) if (p.task_id, p.round, p.index) in wanted]


def _rewarded(policy: Policy, candidates: Sequence[Candidate], kept: Sequence[Selected], round_: int, before: Update | None) -> TrainJob:
    """The policy learns from what it was asked and wrote (SEAL section 3.1)."""
    recipe = policy.recipe
    settings = recipe.algorithm
    assert isinstance(settings, Outer), "a search trains no policy"
    actions = [action for action in _actions(policy, candidates, kept, settings) if action]
    lessons = [lesson for action in actions for lesson in action]
    imitates = isinstance(settings, RestEM)
    data = _imitated([written for _, written in lessons]) if imitates else _compared(policy, lessons)
    sizes = () if imitates else tuple(map(len, actions))
    kl = algorithms.kl_coefficient(settings, before, None if imitates or not data else _divergence(data))
    loss, options = algorithms.loss(settings, kl, recipe.propose.sampling.max_tokens)
    seed = derive(recipe.seed, "outer", round_)
    return TrainJob(tuple(data), settings.lora, settings.optimizer, settings.epochs, settings.batch_size, seed, loss, options, sizes)


def _actions(policy: Policy, candidates: Sequence[Candidate], kept: Sequence[Selected], settings: Outer) -> list[list[Lesson]]:
    """The turns of each self-edit, or of both sides of each pair; none where one side wrote nothing."""
    edits = {(c.proposal.task_id, c.proposal.round, c.proposal.index): c.proposal.edit for c in candidates}
    sides: list[list[Lesson]] = []
    for one in kept:
        edit = edits[one.task_id, one.round, one.index]
        written = [policy.wrote(turn, drawn=not isinstance(settings, RestEM) and turn != edit.pick) for turn in edit.turns]
        sides.append([(one, (asked, reply)) for asked, reply in written if reply])
    if not isinstance(settings, DPO):
        return sides
    return [[*best, *worst] for best, worst in zip(sides[::2], sides[1::2], strict=True) if best and worst]


def _imitated(written: Sequence[Written]) -> list[Datum]:
    return [Datum(prompt + reply, _after(prompt, (1.0,) * len(reply))) for prompt, reply in written]


def _compared(policy: Policy, lessons: Sequence[Lesson]) -> list[Datum]:
    """With log-probabilities under the policy that wrote them and under the one that the rounds began with."""
    requests = [ScoreRequest(*written) for _, written in lessons]
    old = policy.engine.score(requests)
    reference = policy.reference(requests, old)
    return [
        Datum(
            r.prompt + r.completion,
            _after(r.prompt, (1.0,) * len(r.completion)),
            _after(r.prompt, before.logprobs),
            _after(r.prompt, first.logprobs),
            kept.advantage,
        )
        for (kept, _), r, before, first in zip(lessons, requests, old, reference, strict=True)
    ]


def _divergence(data: Sequence[Datum]) -> float:
    """From the policy that the rounds began with to the one that wrote these, nats a token: k3, as in the losses."""
    logs = [r - o for d in data for o, r, weight in zip(d.old_logprobs, d.reference_logprobs, d.weights, strict=True) if weight]
    return fmean(math.exp(log) - 1 - log for log in logs)


def _after(prompt: Sequence[int], values: tuple[float, ...]) -> tuple[float, ...]:
    return (0.0,) * len(prompt) + values


def described(candidates: Sequence[Candidate], kept: Sequence[Selected], round_: int, algorithm: str, kl: float, trained: Trained | None) -> Update:
    """What the ledger holds of an update; `trained` None where there was nothing to learn from. Raises EngineError where every training failed."""
    if all_failed(candidates):
        raise EngineError("no self-edit could be scored: every training failed; `selfedit report` shows why (lower inner.optimizer.lr?)")
    if not candidates:
        raise EngineError("the screen could rate no self-edit of a round: all trainings failed (lower inner.optimizer.lr?), or nothing had a choice")
    found = groups(candidates)
    skipped = len(found.keys() - {(one.round, one.task_id) for one in kept})
    metrics = {name: fmean(values) for name, values in trained.metrics.items()} if trained else {}
    return Update(round_, algorithm, len(found), skipped, trained.losses if trained else (), metrics | ({"kl_coefficient": kl} if kl else {}))


def all_failed(candidates: Sequence[Candidate]) -> bool:
    """Whether a guard refused every one of them."""
    return bool(candidates) and not any(candidate.accepted for candidate in candidates)
