"""From a run folder to finished work: open the model, go through the loop, put the adapter in force."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from selfedit.config import FakeEngine, Recipe
from selfedit.engine.base import Progress
from selfedit.errors import DataError
from selfedit.ledger import Head, Heads, Ledger, Reader
from selfedit.rewards import NAME, check
from selfedit.store.artifacts import adapter_of, rounds_of
from selfedit.store.identity import digest, recipe_of, same_model, say_versions
from selfedit.types import Demonstration, Passage, Task, Variant

if TYPE_CHECKING:
    from selfedit.policy import Policy


class Watcher(Protocol):
    """Who is told how the work goes on."""

    def stage(self, title: str) -> AbstractContextManager[Progress]:
        """A piece of work by its name, while it goes on."""
        ...

    def say(self, text: str) -> None:
        """One line of news."""
        ...


# ------------------------------------------------------------ the kinds of work


def learn(ledger: Ledger, passages: Sequence[Passage], watcher: Watcher) -> None:
    """Learn documents; what was finished before is not done again."""
    from selfedit.loop import Loop

    if not is_finished(ledger):
        ledger.note("reward", check(ledger.recipe.reward))
        Loop(open_model(ledger, watcher), ledger, watcher.stage).learn(passages)
        ledger.finish()


def train(ledger: Ledger, passages: Sequence[Passage], held_out: Sequence[Passage], watcher: Watcher, shown: Sequence[Demonstration] = ()) -> None:
    """Train the policy to write better self-edits; `shown` are the good ones of its cold start."""
    from selfedit.loop import Loop

    if not is_finished(ledger):
        ledger.note("reward", check(ledger.recipe.reward))
        Loop(open_model(ledger, watcher), ledger, watcher.stage).train(passages, held_out, shown)
        ledger.finish()


@dataclass(frozen=True)
class Learned:
    """What a run of `train` came to: the adapters of its policy, to be merged in order, and the strategy that its search found.

    `of` are the digests of the passages that it learned from.
    """

    rounds: Sequence[Path] = ()
    strategy: Variant | None = None
    of: Collection[str] = ()


def evaluate(ledger: Ledger, held_out: Sequence[Passage], learned: Learned, watcher: Watcher) -> None:
    """Measure the rows of the recipe, and what a run of `train` came to."""
    from selfedit.loop import Loop

    if not is_finished(ledger):
        if "best_of_k" in ledger.recipe.eval.baselines:
            ledger.note("reward", check(ledger.recipe.reward))
        Loop(open_model(ledger, watcher), ledger, watcher.stage).measure(held_out, learned.rounds, learned.strategy)
        ledger.finish()


def assess(ledger: Ledger, passages: Sequence[Passage], watcher: Watcher) -> None:
    """Measure how far rewards and screens can be trusted."""
    from selfedit.loop import Loop

    if not is_finished(ledger):
        ledger.note("reward", check(ledger.recipe.reward))
        Loop(open_model(ledger, watcher), ledger, watcher.stage).assess(passages)
        ledger.finish()


# ------------------------------------------------------------ the model


def open_model(ledger: Ledger, watcher: Watcher) -> Policy:
    """The policy of a run; its tokens are counted in the ledger. Raises LedgerError where the model is another than the run began with."""
    with Reader(ledger.folder) as reader:
        recipe = recipe_of(reader)
    ledger.note("judge", NAME)
    say_versions(ledger, watcher.say)
    with watcher.stage(opening(recipe)):
        from selfedit.policy.opening import open_policy

        policy = open_policy(recipe, say=watcher.say)
        policy.count = lambda trained, written: ledger.count(train_tokens=trained, sample_tokens=written)
        same_model(ledger, recipe)
    return policy


def opening(recipe: Recipe) -> str:
    """The title of the stage in which a model is opened."""
    return "Opening the fake model" if isinstance(recipe.engine, FakeEngine) else f"Opening {recipe.model}"


# ------------------------------------------------------------ afterwards


def put_in_force(root: Path, folder: Path, force: bool) -> bool:
    """Make a run's adapter the current head, once; not where a guard was against it, unless forced. Returns whether it is in force now.

    Raises LedgerError where it is no longer the one that the run recorded.
    """
    heads, head = Heads(root), Head(folder.name, _place(root, adapter_of(folder)))
    with Reader(folder) as reader:
        against = [verdict for verdict in reader.verdicts() if verdict.decision != "accept"]
    new = all(change.head != head for change in heads.history())
    if (new and not against) or (force and heads.current() != head):
        heads.push(head)
    return heads.current() == head


def _place(root: Path, adapter: Path) -> str:
    adapter = adapter.resolve()
    return adapter.relative_to(root.resolve()).as_posix() if adapter.is_relative_to(root.resolve()) else str(adapter)


def is_finished(ledger: Ledger) -> bool:
    """Whether everything was done before."""
    with Reader(ledger.folder) as reader:
        return reader.info().status == "finished"


def is_about_reliability(ledger: Ledger, asked: bool) -> bool:
    """Whether a run of `eval` measures rewards in place of a policy; noted at its beginning, and found again."""
    if asked:
        ledger.note("measures", "reliability")
    with Reader(ledger.folder) as reader:
        return reader.notes().get("measures") == "reliability"


def learned_by(ledger: Ledger, policy: Path | None) -> Learned:
    """What a run of `eval` measures beside the model as it came, if anything; noted at its beginning, and found again. Nothing once it is finished.

    Raises DataError for a run that came to nothing.
    """
    if is_finished(ledger):
        return Learned()
    with Reader(ledger.folder) as reader:
        noted = reader.notes().get("policy folder")
    folder = Path(noted["folder"]) if noted else policy
    if folder is None:
        return Learned()
    with Reader(folder) as reader:
        notes, taught = reader.notes(), [step.name for step in reader.steps() if step.name == "tasks"]
        known = {digest(task.context) for name in taught for task in reader.step(name, Task)} | set(notes.get("shown", ()))
        adapters = {folder / artifact.path: artifact.sha256 for artifact in reader.artifacts()}
    found = notes.get("found")
    learned = Learned(rounds_of(folder), Variant(**found) if found else None, known)
    if not learned.rounds and not learned.strategy:
        raise DataError(
            f"run {folder.name} has trained no policy and found no strategy; `selfedit runs` shows which command made a run, and whether it finished"
        )
    ledger.note("policy folder", {"run": folder.name, "folder": str(folder.resolve())}, kind="places")
    ledger.note("policy", {"adapters": [adapters[path] for path in learned.rounds], "strategy": found})
    return learned
