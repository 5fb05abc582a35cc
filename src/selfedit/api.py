"""What a notebook or another program calls: `learn`, `train`, `evaluate`, `ask`, `load_run`. The command line is a thin caller of it.

torch is loaded when a model is opened, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfedit.config import CHOSEN, Recipe, beginning, check_learning, load_recipe, packaged, packaged_for, parse_recipe
from selfedit.errors import ConfigError, DataError, LedgerError
from selfedit.ledger import Ledger, Reader
from selfedit.store import identity, runs
from selfedit.store.trained import trained_policy
from selfedit.strategies import find, parts
from selfedit.types import Candidate, Cost, Task, Verdict

if TYPE_CHECKING:
    from selfedit.library.ask import Answers
    from selfedit.loop import Watch
    from selfedit.report.comparison import Comparison

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

    root, watch = runs.root(Path(folder) if folder else None), watch or _watch()
    with _ledger(root, command, recipe, resume) as ledger:
        passages = identity.documents(ledger, ledger.recipe.docs, "heldout", say=watch.say)
        watch.say(f"run {ledger.run_id}")
        policy = None
        if _unfinished(ledger):
            run = loop().begin(ledger, watch)
            policy = run.policy
            loop().learn_documents(run, passages)
            ledger.finish()
        put_in_force(root, ledger.folder, keep, policy)
    return Run(ledger.folder)


def consolidate(
    *, resume: str | None = None, keep: bool = False, folder: Path | str | None = None, watch: Watch | None = None, **settings: Any
) -> Run:
    """One adapter, rebuilt from the model as it came on all that the library holds; it takes the library's place unless a guard was against it.

    The recipe is that of the last thing that was learned, with `settings` changed. Raises DataError where nothing is in force, LedgerError where the
    library has changed since the run was begun. Other arguments as in `learn`.
    """
    from selfedit.library.force import in_force, put_in_force

    root, watch = runs.root(Path(folder) if folder else None), watch or _watch()
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
        policy = None
        if _unfinished(ledger):
            run = loop().begin(ledger, watch)
            policy = run.policy
            loop().consolidate(run, library, library.documents())
            ledger.finish()
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
    root, watch = runs.root(Path(folder) if folder else None), watch or _watch()
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
        if _unfinished(ledger):
            run = loop().begin(ledger, watch)
            if run.policy.inner.trains:
                loop().train_policy(run, passages, held_out, shown)
            else:
                loop().train_vectors(run, passages, held_out)
            ledger.finish()
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
    root, watch = runs.root(Path(folder) if folder else None), watch or _watch()
    trained = policy.folder if isinstance(policy, Run) else runs.find(root, policy, ("train",)) if policy else None
    if trained and reliability:
        raise ConfigError("--reliability is measured with the model as it came: leave out --policy")
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
            if _unfinished(ledger):
                loop().study_reliability(loop().begin(ledger, watch), passages)
                ledger.finish()
        else:
            held_out = identity.documents(ledger, ledger.recipe.eval_docs, "heldout", step="held-out", say=watch.say)
            measured = trained_policy(ledger, trained)
            identity.keep_apart(held_out, measured.learned)
            watch.say(f"run {ledger.run_id}")
            if _unfinished(ledger):
                rewarded = _uses_reward(ledger.recipe)
                loop().evaluate(loop().begin(ledger, watch, rewarded=rewarded), held_out, measured.adapters, measured.strategy)
                ledger.finish()
    return Run(ledger.folder)


def ask(
    question: str, *, topic: str | None = None, run: Run | str | None = None, folder: Path | str | None = None, watch: Watch | None = None
) -> Answers:
    """The answer with what was learned (`learned`) and, beside it, without (`before`). The documents are not shown to the model.

    Asks the adapter in the library that the question is for, if there is one, or those of a `run`; `topic` says which document it is about. Raises
    DataError where nothing is learned.
    """
    from selfedit.library.ask import ask as put
    from selfedit.library.force import in_force
    from selfedit.library.opening import library_of

    if not question.strip():
        raise ConfigError("there is no question")
    root, watch = runs.root(Path(folder) if folder else None), watch or _watch()
    if run is None:
        return put(in_force(root), question, topic, watch)
    with library_of(run.folder if isinstance(run, Run) else runs.find(root, run, runs.LEARNING)) as library:
        return put(library, question, topic, watch)


def load_run(name: str = "latest", *, folder: Path | str | None = None) -> Run:
    """A run by its id, the beginning of one, its folder, or `latest`. Raises LedgerError naming the nearest."""
    return Run(runs.find(runs.root(Path(folder) if folder else None), name))


# ---------------------------------------------------------------- what comes back


class Run:
    """A run on disk: its table, its self-edits, its adapter. It reads the ledger each time it is asked, also while the run goes on."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    def reader(self) -> Reader:
        """The run's ledger; use it as a context manager."""
        return Reader(self.folder)

    @property
    def status(self) -> str:
        """running, finished, failed or interrupted."""
        with self.reader() as reader:
            return reader.info().status

    @property
    def recipe(self) -> Recipe:
        """The settings it was begun with."""
        return recipe_of(self.folder)

    @property
    def comparison(self) -> Comparison:
        """Everything that its results say."""
        from selfedit.report.comparison import compare

        with self.reader() as reader:
            return compare(reader.tasks(), reader.results(), reader.notes())

    @property
    def table(self) -> Table:
        """One row a baseline, and the result among them, with 95 % intervals."""
        return Table(self.comparison)

    @property
    def tasks(self) -> list[Task]:
        """Passages with their questions."""
        with self.reader() as reader:
            return reader.tasks()

    @property
    def candidates(self) -> list[Candidate]:
        """Self-edits with their rewards."""
        with self.reader() as reader:
            return reader.candidates()

    @property
    def verdicts(self) -> list[Verdict]:
        """What the guards said of the run as a whole."""
        with self.reader() as reader:
            return reader.verdicts()

    @property
    def cost(self) -> Cost:
        """Seconds and tokens."""
        with self.reader() as reader:
            return reader.cost()

    @property
    def adapters(self) -> dict[str, Path]:
        """The final adapters by the title of what they know (the first, where one knows several documents), in PEFT's format."""
        with self.reader() as reader:
            found = [one for one in reader.artifacts() if not one.path.startswith("policy/")]
        return {one.name: self.folder / one.path for one in found}

    @property
    def in_force(self) -> bool:
        """Whether `ask` uses any of this run's adapters."""
        from selfedit.library.force import opened

        return any(entry.run == self.id for entry in opened(self.folder.parent).entries())

    @property
    def measures_reliability(self) -> bool:
        """Whether it measured rewards in place of baselines."""
        with self.reader() as reader:
            return bool(reader.notes().get("measures") == "reliability")

    def ask(self, question: str, topic: str | None = None) -> Answers:
        """A question to this run's adapter and, beside it, to the model without it."""
        return ask(question, topic=topic, run=self)

    def report(self, out: Path | str | None = None) -> Path:
        """Write the whole story as one HTML file that needs no network, and return where it is."""
        from selfedit.report import write

        return write(self.folder, Path(out) if out else None)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.status})"

    def _repr_html_(self) -> str:
        headline = self.comparison.headline
        said = f"<p><b>{escape(headline.verdict)}</b> {escape(headline.sentence)} {escape(headline.control)}</p>" if headline else ""
        return f"<div><p>Run <code>{escape(self.id)}</code>, {escape(self.status)}</p>{self.table._repr_html_()}{said}</div>"


class Table(Sequence[Mapping[str, Any]]):
    """The rows of a comparison, as in results.json: `name`, `mean`, `low`, `high`, `n`, `seeds`, `tokens` and more, with the `label` in words."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One a row."""
        from selfedit.report.results import as_results

        labels = {row.name: row.label for row in self.comparison.rows}
        rows = as_results(self.comparison)["rows"]
        final = self.comparison.final or ""
        return [{"label": labels.get(row["name"], labels.get(final, row["name"])), **row} for row in rows]

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def to_pandas(self) -> Any:
        """A DataFrame with a row each, by name. Raises ConfigError where pandas is not installed."""
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ConfigError("a DataFrame needs pandas: pip install pandas") from error
        return pandas.DataFrame(self.rows).set_index("name")

    def __str__(self) -> str:
        return "\n".join(f"{row['label']:<34} {_share(row['mean']):>7}  {_share(row['low'])} to {_share(row['high'])}" for row in self.rows)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("", "correct", "95 % interval", "questions", "tokens"))
        body = "".join(
            f"<tr><th>{escape(row['label'])}</th><td>{_share(row['mean'])}</td><td>{_share(row['low'])} to {_share(row['high'])}</td>"
            f"<td>{row.get('n', '')}</td><td>{row.get('tokens') or 0:,}</td></tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


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


def recipe_of(folder: Path) -> Recipe:
    """The recipe of a run; its paths count from where the run was begun."""
    with Reader(folder) as reader:
        recipe, info = identity.recipe_of(reader), reader.info()
    return recipe.model_copy(update={"eval_docs": tuple(identity.as_then(info, path) for path in recipe.eval_docs)})


def loop() -> Any:
    """The loop, imported when a run begins: numpy and the engine come with it."""
    from selfedit import loop

    return loop


def _unfinished(ledger: Ledger) -> bool:
    with Reader(ledger.folder) as reader:
        return reader.info().status != "finished"


def _ledger(root: Path, command: str, recipe: Recipe | None, resume: str | None) -> AbstractContextManager[Ledger]:
    if recipe is None:
        return runs.taken_up(root, resume or "latest", command)
    return runs.begun(root, command, recipe)


def _paths(docs: Docs) -> tuple[Path, ...]:
    return tuple(Path(one) for one in ([docs] if isinstance(docs, str | Path) else docs))


def _watch() -> Watch:
    from selfedit.system.console import Show

    return Show()
