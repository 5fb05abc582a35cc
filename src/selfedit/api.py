"""What a notebook or another program calls: `learn`, `train`, `evaluate`, `ask`, `load_run`. The command line is a thin caller of it.

torch is loaded when a model is opened, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfedit.config import CHOSEN, Recipe, beginning, check_learning, load_recipe, packaged, packaged_for, parse_recipe
from selfedit.errors import ConfigError, DataError, LedgerError
from selfedit.ledger import Ledger, Reader
from selfedit.results import Run, recipe_of
from selfedit.store import identity, runs
from selfedit.store.trained import trained_policy
from selfedit.strategies import find, parts

if TYPE_CHECKING:
    from selfedit.library.ask import Answers
    from selfedit.policy import Policy
    from selfedit.types import Watch

__all__ = ["Run", "ask", "consolidate", "demo", "evaluate", "learn", "load_run", "loop", "made", "recipe_of", "train"]

Docs = str | Path | Sequence[str | Path]
"""Files and folders."""


def learn(
    docs: Docs = (),
    *,
    recipe: Recipe | Path | str | None = None,
    keep: bool = False,
    resume: str | None = None,
    folder: Path | str | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Run:
    """Learn documents: the best self-edit of each is kept, an adapter is trained on it and joins the library, unless a guard was against it.

    `settings` are keys of the recipe: `model="smollm2-135m"`, `engine="fake"`, `propose={"candidates": 2}`. `keep` puts adapters in force whatever
    guards say, `resume` goes on with a run, `folder` is where runs live. Raises SelfeditError, whose message says what to do.
    """
    chosen = None if resume else _learning(_rewarded(made(recipe or beginning(_domain(settings)) or packaged("learn"), settings, docs=_paths(docs))))
    return _learned("learn", chosen, keep, resume, folder, watch)


def demo(
    recipe: Recipe | None = None, *, resume: str | None = None, folder: Path | str | None = None, watch: Watch | None = None, **settings: Any
) -> Run:
    """As `learn`, on the held-out part of the bundled documents about invented things."""
    return _learned("demo", None if resume else _rewarded(made(recipe or packaged("demo"), settings)), False, resume, folder, watch)


def _learned(command: str, recipe: Recipe | None, keep: bool, resume: str | None, folder: Path | str | None, watch: Watch | None) -> Run:
    from selfedit.library.force import put_in_force

    root, watch = runs.root(folder), watch or _watch()
    with _ledger(root, command, recipe, resume) as ledger:
        passages = identity.documents(ledger, ledger.recipe.docs, "heldout", say=watch.say)
        watch.say(f"run {ledger.run_id}")
        policy = _finished(ledger, watch, lambda run: loop().learn_documents(run, passages))
        put_in_force(root, ledger.folder, keep, policy)
    return Run(ledger.folder)


def consolidate(
    *, resume: str | None = None, keep: bool = False, folder: Path | str | None = None, watch: Watch | None = None, **settings: Any
) -> Run:
    """One adapter, rebuilt from the untrained model on all that the library holds; it takes the library's place unless a guard was against it.

    The recipe is that of the last thing that was learned, with `settings` changed. Raises DataError where nothing is in force, LedgerError where the
    library has changed since the run was begun. Other arguments as in `learn`.
    """
    from selfedit.library.force import in_force, put_in_force

    root, watch = runs.root(folder), watch or _watch()
    library = in_force(root)
    newest = library.newest()
    chosen = None if resume else made(parse_recipe(newest.recipe, source=f"recipe of run {newest.run}"), settings)
    with _ledger(root, "consolidate", chosen, resume) as ledger:
        version = library.version()
        assert version is not None
        with Reader(ledger.folder) as reader:
            began = reader.notes().get("library")
        if began not in (None, version.digest):
            raise LedgerError(f"the library has changed since run {ledger.run_id} was begun: begin anew with `selfedit consolidate`")
        ledger.note("library", version.digest)
        policy = _finished(ledger, watch, lambda run: loop().consolidate(run, library, library.documents()))
        put_in_force(root, ledger.folder, keep, policy, "consolidate")
    return Run(ledger.folder)


def train(
    recipe: Recipe | Path | str | None = None,
    *,
    resume: str | None = None,
    folder: Path | str | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Run:
    """Reinforcement learning: the model learns to write better self-edits, and is measured on documents it never learns from.

    Arguments are as in `learn`.
    """
    root, watch = runs.root(folder), watch or _watch()
    chosen = None if resume else _rewarded(made(recipe or packaged_for(settings.get("edits", ())), settings))
    if chosen:
        check_learning(chosen)
    with _ledger(root, "train", chosen, resume) as ledger:
        shown = identity.demonstrations(ledger)
        passages = identity.without(identity.documents(ledger, ledger.recipe.docs, "train", say=watch.say), shown)
        held_out = identity.documents(ledger, ledger.recipe.eval_docs, "heldout", step="held-out", say=watch.say)
        learned = [*passages, *(one.passage for one in shown)]
        identity.keep_apart(held_out, {name for passage in learned for name in identity.names(passage.context)})
        watch.say(f"run {ledger.run_id}")
        if ledger.recipe.open("inner").trains:
            _finished(ledger, watch, lambda run: loop().train_policy(run, passages, held_out, shown))
        else:
            _finished(ledger, watch, lambda run: loop().train_vectors(run, passages, held_out))
    return Run(ledger.folder)


def evaluate(
    recipe: Recipe | Path | str | None = None,
    *,
    policy: Run | str | None = None,
    reliability: bool = False,
    resume: str | None = None,
    folder: Path | str | None = None,
    watch: Watch | None = None,
    **settings: Any,
) -> Run:
    """Compare baselines on held-out documents, and the `policy` of a run of `train` beside them; or (`reliability`) measure rewards themselves.

    A policy is measured with the settings of its run, which `settings` may change one by one. Other arguments as `learn`.
    """
    root, watch = runs.root(folder), watch or _watch()
    trained = policy.folder if isinstance(policy, Run) else runs.find(root, policy, ("train",)) if policy else None
    if trained and reliability:
        raise ConfigError("--reliability is measured with the untrained model: leave out --policy")
    chosen = None if resume else made(recipe_of(trained) if trained and recipe is None else recipe, settings)
    if chosen and not chosen.open("inner").trains:
        raise ConfigError("eval compares training texts; edit vectors are compared at the end of `selfedit train --edits vector`")
    if chosen and (reliability or _uses_reward(chosen)):
        _rewarded(chosen)
    if chosen and reliability and not chosen.open("reward").needs().answers:
        once = f"--reliability compares rewards of answers that are written once, which {chosen.reward.part} is not"
        raise ConfigError(f"{once}; choose another reward")
    with _ledger(root, "eval", chosen, resume) as ledger:
        if reliability:
            ledger.note("measures", "reliability")
        if Run(ledger.folder).measures_reliability:
            passages = identity.documents(ledger, ledger.recipe.docs, "train", say=watch.say)
            watch.say(f"run {ledger.run_id}")
            _finished(ledger, watch, lambda run: loop().study_reliability(run, passages))
        else:
            held_out = identity.documents(ledger, ledger.recipe.eval_docs, "heldout", step="held-out", say=watch.say)
            measured = trained_policy(ledger, trained)
            identity.keep_apart(held_out, measured.learned)
            watch.say(f"run {ledger.run_id}")
            rewarded = _uses_reward(ledger.recipe)
            _finished(ledger, watch, lambda run: loop().evaluate(run, held_out, measured.adapters, measured.strategy), rewarded)
    return Run(ledger.folder)


def ask(
    question: str,
    *,
    topic: str | None = None,
    open_book: bool = False,
    run: Run | str | None = None,
    folder: Path | str | None = None,
    watch: Watch | None = None,
) -> Answers:
    """The answer with what was learned (`learned`) and, beside it, without (`before`). The documents are not shown to the model, unless `open_book`.

    Asks the adapter in the library that the question is for, if there is one, or those of a `run`; `topic` says which document it is about. Raises
    DataError where nothing is learned.
    """
    from selfedit.library.ask import ask as put
    from selfedit.library.force import in_force

    if not question.strip():
        raise ConfigError("there is no question")
    root, watch = runs.root(folder), watch or _watch()
    if run is None:
        return put(in_force(root), question, topic, watch, open_book)
    return (run if isinstance(run, Run) else Run(runs.find(root, run, runs.LEARNING))).ask(question, topic, open_book, watch)


def load_run(name: str = "latest", *, folder: Path | str | None = None) -> Run:
    """A run by its id, the beginning of one, its folder, or `latest`. Raises LedgerError naming the nearest."""
    return Run(runs.find(runs.root(folder), name))


# ---------------------------------------------------------------- recipes and ledgers


def made(recipe: Recipe | Path | str | None, settings: Mapping[str, Any], **more: Any) -> Recipe:
    """The recipe: a file or a Recipe, with single keys changed. A part may be named alone: `reward="likelihood"`.

    Raises ConfigError for what does not fit, before anything is opened.
    """
    before = recipe if isinstance(recipe, Recipe) else load_recipe(Path(recipe)) if recipe else beginning(_domain(settings)) or Recipe()
    changes = {**settings, **{key: value for key, value in more.items() if value}}
    if not changes:
        return _checked(before)
    values = before.model_dump()
    for key, value in changes.items():
        named = {"type": value} if key in CHOSEN and isinstance(value, str) else value
        old = values.get(key)
        same = isinstance(named, Mapping) and isinstance(old, dict) and named.get("type", old.get("type")) == old.get("type")
        values[key] = _merged(old, named) if same and isinstance(old, dict) and isinstance(named, Mapping) else named
    return _checked(parse_recipe(values, source="settings"))


def _domain(settings: Mapping[str, Any]) -> str:
    """The name of the domain that settings choose; empty where they choose none."""
    chosen = settings.get("domain", "")
    return str(chosen.get("type", "")) if isinstance(chosen, Mapping) else chosen if isinstance(chosen, str) else str(getattr(chosen, "part", ""))


def _merged(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The old keys with the new ones over them, section by section."""
    both = {key: _merged(old[key], value) for key, value in new.items() if isinstance(value, Mapping) and isinstance(old.get(key), dict)}
    return {**old, **new, **both}


def _checked(recipe: Recipe) -> Recipe:
    """The strategies that a recipe names are there."""
    for choice in recipe.propose.strategies:
        for name in parts(choice):
            find(name, recipe.strategy)
    return recipe


def _rewarded(recipe: Recipe) -> Recipe:
    """What the reward depends on is there."""
    recipe.open("reward").depends_on()
    return recipe


def _uses_reward(recipe: Recipe) -> bool:
    """Whether a row of the recipe's comparison is chosen by the reward."""
    return any(one.rewarded for one in recipe.rows)


def _learning(recipe: Recipe) -> Recipe:
    """A recipe that `learn` can use."""
    check_learning(recipe)
    if not recipe.open("domain").learns_documents:
        raise ConfigError(f"domain {recipe.domain.part} has no documents to learn; it is for `selfedit train` and `selfedit eval`")
    if not recipe.open("algorithm").learns_documents:
        raise ConfigError(f"`learn` keeps the best self-edits, which is --algorithm rest_em; {recipe.algorithm.part} is for `selfedit train`")
    if not recipe.docs:
        raise DataError("nothing to learn: give files or folders, as in `selfedit learn notes.md docs/` (`selfedit demo` brings its own)")
    return recipe


def loop() -> Any:
    """The loop, imported when a run begins: numpy and the engine come with it."""
    from selfedit import loop

    return loop


def _finished(ledger: Ledger, watch: Watch, work: Callable[[Any], None], rewarded: bool = True) -> Policy | None:
    """Begin the run and do its work; returns the policy it worked with, None where there was nothing left to do."""
    with Reader(ledger.folder) as reader:
        if reader.info().status == "finished":
            return None
    run = loop().begin(ledger, watch, rewarded=rewarded)
    work(run)
    ledger.finish()
    policy: Policy = run.policy
    return policy


def _ledger(root: Path, command: str, recipe: Recipe | None, resume: str | None) -> AbstractContextManager[Ledger]:
    if recipe is None:
        return runs.taken_up(root, resume or "latest", command)
    return runs.begun(root, command, recipe)


def _paths(docs: Docs) -> tuple[Path, ...]:
    return tuple(Path(one) for one in ([docs] if isinstance(docs, str | Path) else docs))


def _watch() -> Watch:
    from selfedit.system.console import Show

    return Show()
