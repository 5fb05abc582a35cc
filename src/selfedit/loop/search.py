"""Searches for a better strategy that leave the weights alone; what they find is measured on held-out documents.

The archive: strategies are evaluated, the model mutates them, and all of them stay. The bandit: the better of the recipe's own are drawn more often.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from statistics import fmean
from typing import Literal, Self

from selfedit.algorithms import archive, bandit
from selfedit.algorithms.archive import Entry
from selfedit.algorithms.groups import groups
from selfedit.config import Archive, Bandit, Recipe, RestEM, Searching
from selfedit.engine.base import Progress
from selfedit.errors import EngineError
from selfedit.loop.rounds import Rounds
from selfedit.policy import Policy, derive
from selfedit.strategies import find, parts
from selfedit.strategies.written import strategy
from selfedit.types import Candidate, SampleRequest, Task, Turn, Variant

UNSCORED = "no self-edit could be scored; `selfedit report` shows why (is inner.optimizer.lr too high?)"


class Search(Rounds):
    """Rounds that look for a better strategy, and leave the weights alone."""

    def search(self, settings: Searching, tasks: Sequence[Task]) -> Variant:
        """The best strategy that was found; noted, for who measures it again."""
        best = self.pull(settings, tasks) if isinstance(settings, Bandit) else self.grow(settings, tasks)
        self.ledger.note("found", asdict(best))
        return best

    def pull(self, settings: Bandit, tasks: Sequence[Task]) -> Variant:
        """K self-edits of every task a round, of the strategies that the bandit draws; returns the best of these."""
        recipe, candidates = self.policy.recipe, list[Candidate]()
        strategies = tuple(dict.fromkeys(recipe.propose.choices))
        base = self.reward_base("round-0/base", tasks)
        for number in range(recipe.rounds):
            drawn = bandit.draw(settings.rule, strategies, candidates, len(tasks), recipe.propose.candidates, derive(recipe.seed, "bandit", number))
            candidates += self.explore(tasks, number, base, RestEM(), drawn)
        best = bandit.best(strategies, candidates)
        if best is None:
            raise EngineError(UNSCORED)
        return _known(recipe, best, strategies.index(best))

    def grow(self, settings: Archive, tasks: Sequence[Task]) -> Variant:
        """The recipe's strategies first, then as many children as it has rounds; returns the best of all."""
        base = self.reward_base("round-0/base", tasks)
        entries: list[Entry] = []
        for number in range(len(self.policy.recipe.propose.strategies) + self.policy.recipe.rounds):
            title, work = f"Finding strategy {number + 1}", partial(_next, self.policy, settings, tuple(entries), number)
            [variant] = self.step(f"round-{number}/variant", Variant, title, work)
            scored = () if variant.problem else self.using(variant).explore(tasks, number, base, RestEM())
            entries.append(Entry(variant, _score(scored)))
        known = [entry for entry in entries if entry.score is not None]
        return max(known, key=lambda entry: entry.score or 0.0).variant

    def using(self, variant: Variant) -> Self:
        """The same run, writing and training as a strategy wants it: all that a strategy can change is changed here."""
        recipe = self.policy.recipe
        propose = recipe.propose.model_copy(update={"strategies": (variant.strategy,), "mix": 1})
        inner = recipe.inner.model_copy(update={"epochs": variant.epochs, "optimizer": replace(recipe.inner.optimizer, lr=variant.lr)})
        written = {} if variant.parent is None else {variant.strategy: strategy(variant)}
        return replace(self, policy=self.policy.like(recipe.model_copy(update={"propose": propose, "inner": inner}), written))


def _next(policy: Policy, settings: Archive, entries: Sequence[Entry], number: int, progress: Progress) -> list[Variant]:
    """One of the recipe's strategies, or a child of one that was drawn."""
    recipe = policy.recipe
    if number < len(recipe.propose.strategies):
        return [_known(recipe, recipe.propose.strategies[number], number)]
    if all(entry.score is None for entry in entries):
        raise EngineError(UNSCORED)
    seed = derive(recipe.seed, "mutation", number)
    [parent] = random.Random(seed).choices(entries, archive.chances(entries, settings.steepness, settings.midpoint))
    prompt = archive.ask(parent)
    [completion] = policy.sample([SampleRequest(policy.prompt(prompt), policy.writing(recipe.propose, prompt, seed))], progress)
    return [archive.read(Turn(prompt, completion.text, completion.finish_reason), number, parent.variant)]


def _known(recipe: Recipe, name: str, number: int) -> Variant:
    """One of the recipe's strategies, or several mixed, with the recipe's inner loop."""
    form: Literal["questions", "statements"] = "questions" if name.endswith("-qa") else "statements"
    described = " ".join(find(part).description for part in parts(name))
    return Variant(number, None, name, described, form, 1, recipe.inner.epochs, recipe.inner.optimizer.lr)


def _score(candidates: Sequence[Candidate]) -> float | None:
    """The mean over tasks of the mean reward of their self-edits."""
    found = groups(candidates)
    return fmean(fmean(value for _, value in group) for group in found.values()) if found else None
