"""The archive search: strategies are evaluated, the model mutates them, all of them stay, and the best is measured on held-out documents."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from selfedit.algorithms import archive
from selfedit.algorithms.archive import Entry
from selfedit.algorithms.groups import groups
from selfedit.config import Archive, RestEM
from selfedit.edits import find
from selfedit.edits.written import strategy
from selfedit.errors import EngineError
from selfedit.policy import Policy, derive
from selfedit.types import Candidate, SampleRequest, Task, Turn, Variant

if TYPE_CHECKING:
    from selfedit.engine.base import Progress
    from selfedit.loop import Loop


def search(loop: Loop, settings: Archive, tasks: Sequence[Task]) -> Loop:
    """The recipe's strategies first, then as many children as it has rounds. Returns the loop as the best strategy wants it."""
    base = loop.answer_base("round-0/base", tasks, "reward")
    entries: list[Entry] = []
    for number in range(len(loop.policy.recipe.propose.strategies) + loop.policy.recipe.rounds):
        title, work = f"Finding strategy {number + 1}", partial(_next, loop.policy, settings, tuple(entries), number)
        [variant] = loop.step(f"round-{number}/variant", Variant, title, work)
        scored = () if variant.problem else using(loop, variant).explore(tasks, number, base, RestEM())
        entries.append(Entry(variant, _score(scored)))
    known = [entry for entry in entries if entry.score is not None]
    return using(loop, max(known, key=lambda entry: entry.score or 0.0).variant)


def using(loop: Loop, variant: Variant) -> Loop:
    """The same loop and engine, writing and training as a strategy wants it: all that a strategy can change is changed here."""
    recipe, policy = loop.policy.recipe, loop.policy
    propose = recipe.propose.model_copy(update={"strategies": (variant.strategy,)})
    inner = recipe.inner.model_copy(update={"epochs": variant.epochs, "optimizer": replace(recipe.inner.optimizer, lr=variant.lr)})
    written = {} if variant.parent is None else {variant.strategy: strategy(variant)}
    changed = Policy(policy.engine, recipe.model_copy(update={"propose": propose, "inner": inner}), policy.count, written)
    return replace(loop, policy=changed)


def _next(policy: Policy, settings: Archive, entries: Sequence[Entry], number: int, progress: Progress) -> list[Variant]:
    """One of the recipe's strategies, or a child of one that was drawn."""
    recipe = policy.recipe
    if number < len(recipe.propose.strategies):
        known = find(recipe.propose.strategies[number])
        form: Literal["questions", "statements"] = "questions" if known.name.endswith("-qa") else "statements"
        return [Variant(number, None, known.name, known.description, form, 1, recipe.inner.epochs, recipe.inner.optimizer.lr)]
    if all(entry.score is None for entry in entries):
        raise EngineError("no self-edit could be scored: every candidate failed; `selfedit report` shows why (lower inner.optimizer.lr?)")
    seed = derive(recipe.seed, "mutation", number)
    [parent] = random.Random(seed).choices(entries, archive.chances(entries, settings.steepness, settings.midpoint))
    prompt = archive.ask(parent)
    [completion] = policy.sample([SampleRequest(policy.prompt(prompt), policy.writing(recipe.propose, prompt, seed))], progress)
    return [archive.read(Turn(prompt, completion.text, completion.finish_reason), number, parent.variant)]


def _score(candidates: Sequence[Candidate]) -> float | None:
    """The mean over tasks of the mean reward of their self-edits."""
    found = groups(candidates)
    return fmean(fmean(value for _, value in group) for group in found.values()) if found else None
