"""From a run folder to finished work: read the documents, open the model, go through the loop, write the report, put the adapter in force."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from selfedit import parts
from selfedit.config import CHOSEN, Recipe, parse_recipe
from selfedit.engine.base import Progress
from selfedit.errors import DataError, LedgerError
from selfedit.ledger import Head, Heads, Ledger, Reader
from selfedit.rewards import NAME
from selfedit.types import Demonstration, Passage, Task, Variant

if TYPE_CHECKING:
    from selfedit.loop import Run
    from selfedit.policy import Policy

Split = Literal["train", "heldout"]
D = TypeVar("D")


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
    from selfedit.loop import learn_documents

    if not is_finished(ledger):
        learn_documents(begin(ledger, watcher), passages)
        ledger.finish()


def train(ledger: Ledger, passages: Sequence[Passage], held_out: Sequence[Passage], watcher: Watcher, shown: Sequence[Demonstration] = ()) -> None:
    """Train the policy to write better self-edits; `shown` are the good ones of its cold start."""
    from selfedit.loop import train_policy

    if not is_finished(ledger):
        train_policy(begin(ledger, watcher), passages, held_out, shown)
        ledger.finish()


def begin(ledger: Ledger, watcher: Watcher) -> Run:
    """The model is opened; what the run depends on beyond its recipe is noted."""
    from selfedit.loop import Run

    recipe = ledger.recipe
    ledger.note("reward", {"type": recipe.reward.part, **recipe.open("reward").depends_on()})
    note_parts(ledger)
    return Run(open_model(ledger, watcher), ledger, watcher)


def note_parts(ledger: Ledger) -> None:
    """The parts of the run in words, for readers that cannot import them, and the digests of plug-ins: a changed one is refused on resume."""
    recipe = ledger.recipe
    for module, digest in parts.digests(recipe.plugins).items():
        with Reader(ledger.folder) as reader:
            before = reader.notes().get(f"plug-in {module}")
        if before not in (None, digest):
            raise LedgerError(f"plug-in {module} has changed since run {ledger.run_id} was begun; restore it, or start a new run")
        ledger.note(f"plug-in {module}", digest)
    chosen = [parts.words(kind, getattr(recipe, key).part) for key, (kind, _) in CHOSEN.items() if getattr(recipe, key) is not None]
    strategies = [parts.words("strategy", part) for choice in recipe.propose.strategies for part in choice.split("+")]
    guards = [parts.words("guard", name) for name in recipe.guards]
    ledger.note("parts", [*chosen, *strategies, *guards, *(entry.words for entry in parts.KINDS["baseline"])])


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
    from selfedit import loop

    if not is_finished(ledger):
        loop.evaluate(begin(ledger, watcher), held_out, learned.rounds, learned.strategy)
        ledger.finish()


def assess(ledger: Ledger, passages: Sequence[Passage], watcher: Watcher) -> None:
    """Measure how far rewards and screens can be trusted."""
    from selfedit.loop import study_reliability

    if not is_finished(ledger):
        study_reliability(begin(ledger, watcher), passages)
        ledger.finish()


# ------------------------------------------------------------ documents


def documents(
    ledger: Ledger, docs: Sequence[Path], split: Split, step: str = "tasks", say: Callable[[str], None] = lambda text: None
) -> list[Passage]:
    """The passages of a run, read before any model is opened; nothing once the step that needs them is finished.

    Relative paths count from where the run was begun. Raises DataError where they are no longer what the run began with.
    """
    return _as_before(ledger, docs, step, lambda paths: ledger.recipe.open("domain").read(ledger.recipe, paths, split, say))


def demonstrations(ledger: Ledger) -> list[Demonstration]:
    """What the cold start of a run shows, as `documents`; nothing where there is none."""
    settings = ledger.recipe.cold_start
    found = (
        _as_before(ledger, settings.examples, "cold-start", lambda paths: ledger.recipe.open("domain").demonstrations(ledger.recipe, paths))
        if settings.enabled
        else []
    )
    if found:
        ledger.note("shown", [digest(one.passage.context) for one in found])
    return found


def without(passages: Sequence[Passage], shown: Sequence[Demonstration]) -> list[Passage]:
    """The passages that the rounds can use: what was shown with its answers is known. Raises DataError where none is left."""
    known = {one.passage.context for one in shown}
    left = [passage for passage in passages if passage.context not in known]
    if passages and not left:
        raise DataError("the cold start shows every training document, and the rounds have none left; lower cold_start.passages or give more docs")
    return left


def keep_apart(held_out: Sequence[Passage], learned: Collection[str]) -> None:
    """Raises DataError where a passage that is there to be measured on is among those that are learned from, which are named by their digests."""
    if found := [passage for passage in held_out if digest(passage.context) in learned]:
        raise DataError(
            f"{len(found)} of {len(held_out)} held-out passages are learned from as well, the first about {found[0].title!r}; "
            "take them out of eval_docs, or out of docs and cold_start.examples"
        )


def _as_before(ledger: Ledger, docs: Sequence[Path], step: str, read_all: Callable[[list[Path]], list[D]]) -> list[D]:
    """What documents say, which is what they said when the run was begun; nothing once the step that needs them is finished."""
    if ledger.is_finished(step):
        return []
    with Reader(ledger.folder) as reader:
        before = Path(reader.info().environment.get("folder", "."))
        known = reader.notes().get(f"documents for {step}")
    passages = read_all([path if before == Path.cwd() else before / path for path in docs])
    found = {"passages": len(passages), "sha256": digest("\n".join(map(repr, passages)))}
    if known not in (None, found):
        raise DataError(f"the documents have changed since run {ledger.run_id} was begun; restore them, or start a new run")
    ledger.note(f"documents for {step}", found)
    return passages


def digest(text: str) -> str:
    """What a text is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------ the model


def open_model(ledger: Ledger, watcher: Watcher) -> Policy:
    """The policy of a run; its tokens are counted in the ledger. Raises LedgerError where the model is another than the run began with."""
    recipe = ledger.recipe
    ledger.note("judge", NAME)
    with watcher.stage(opening(recipe)):
        from selfedit.policy.opening import open_policy

        policy = open_policy(recipe, say=watcher.say)
        policy.count = lambda trained, written: ledger.count(train_tokens=trained, sample_tokens=written)
        if recipe.open("engine").real:
            _same_model(ledger)
    return policy


def opening(recipe: Recipe) -> str:
    """The title of the stage in which a model is opened."""
    return f"Opening {recipe.model}" if recipe.open("engine").real else "Opening the fake model"


def _same_model(ledger: Ledger) -> None:
    from selfedit.models import resolve
    from selfedit.system.environment import fingerprint

    found = fingerprint(resolve(ledger.recipe.model, offline=True))
    with Reader(ledger.folder) as reader:
        known = reader.notes().get("model")
    if known not in (None, found):
        raise LedgerError(f"{ledger.recipe.model} is no longer the model that run {ledger.run_id} began with; restore it, or start a new run")
    ledger.note("model", found)


# ------------------------------------------------------------ afterwards


def put_in_force(root: Path, folder: Path, force: bool) -> bool:
    """Make a run's adapter the current head, once; not where a guard was against it, unless forced. Returns whether it is in force now."""
    heads, head = Heads(root), Head(folder.name, _adapter(root, folder))
    with Reader(folder) as reader:
        against = [verdict for verdict in reader.verdicts() if verdict.decision != "accept"]
    new = all(change.head != head for change in heads.history())
    if (new and not against) or (force and heads.current() != head):
        heads.push(head)
    return heads.current() == head


def _adapter(root: Path, folder: Path) -> str:
    adapter = folder.resolve() / "adapter"
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
    """What a run of `eval` measures beside the model as it came, if anything; noted at its beginning, and found again.

    Raises DataError for a run that came to nothing.
    """
    with Reader(ledger.folder) as reader:
        noted = reader.notes().get("policy")
    folder = Path(noted["folder"]) if noted else policy
    if folder is None:
        return Learned()
    with Reader(folder) as reader:
        notes, taught = reader.notes(), [step.name for step in reader.steps() if step.name == "tasks"]
        known = {digest(task.context) for name in taught for task in reader.step(name, Task)} | set(notes.get("shown", ()))
    found = notes.get("found")
    learned = Learned(rounds_of(folder), Variant(**found) if found else None, known)
    if not learned.rounds and not learned.strategy:
        raise DataError(
            f"run {folder.name} has trained no policy and found no strategy; `selfedit runs` shows which command made a run, and whether it finished"
        )
    ledger.note("policy", {"run": folder.name, "folder": str(folder.resolve()), "updates": len(learned.rounds)})
    return learned


def rounds_of(folder: Path) -> list[Path]:
    """The adapters that a run of `train` made of its policy: of the cold start, and one a round, or the last one alone if it started over."""
    with Reader(folder) as reader:
        recipe = parse_recipe(reader.info().recipe, source=f"recipe of run {folder.name}")
        found = [folder / artifact.path for artifact in reader.artifacts() if artifact.path.startswith("policy/")]
    if not found:
        return []
    *before, last = found
    algorithm, number = recipe.open("algorithm"), last.name.removeprefix("round-")
    alone = number.isdecimal() and algorithm.starts_over(int(number), recipe.rounds)
    return [path for path in before if not (alone and path.name.startswith("round-"))] + [last]
