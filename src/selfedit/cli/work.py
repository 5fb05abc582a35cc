"""The commands that make runs: learn, demo, train, eval."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from selfedit.cli.flags import AnyRecipe, EvalRecipe, LearnRecipe, as_flags, as_recipe
from selfedit.cli.options import Output
from selfedit.cli.parse import parse
from selfedit.config import Recipe, RestEM, check_learning, load_recipe
from selfedit.errors import ConfigError, DataError
from selfedit.ledger import Ledger, Reader
from selfedit.rewards import check, needs
from selfedit.store import identity, runs, work
from selfedit.strategies import find as find_strategy
from selfedit.strategies import parts

File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
MaybeFile = Positional[Annotated[Path | None, arg(metavar="[FILE]", help_behavior_hint="")]]
Options = Annotated[Output, arg(name="")]


@dataclass(frozen=True)
class Learn:
    """Learn documents. The model writes training data about each (self-edits), the best of it is kept, and one adapter is trained on that.

    Examples:
      selfedit learn notes.md docs/            text, Markdown, or JSON Lines with title, context and questions
      selfedit learn docs/ --propose.strategies span-qa --propose.candidates 3
      selfedit learn docs/ --model ~/models/mine --inner.lora.rank 8
      selfedit learn --resume latest           go on where a run was stopped

    Questions that come with a document are divided: some choose between self-edits, the others are only ever asked for the table at the end.
    Where none come, the model writes its own and confirms them. The model is never changed: what it learned is an adapter of a few MB, which
    `selfedit ask` uses from then on, unless a guard found that too much else was forgotten. `selfedit rollback` takes it back.
    """

    docs: Positional[Annotated[tuple[Path, ...], arg(metavar="[DOCS ...]", help_behavior_hint="")]] = ()
    """Files and folders: .txt, .md, .jsonl."""
    recipe: File = None
    """Settings from a TOML file (`selfedit show recipe` prints one); flags override it."""
    keep: bool = False
    """Put the adapter in force even if a guard was against it."""
    output: Options = field(default_factory=Output)
    settings: Annotated[LearnRecipe, arg(name="")] = field(default_factory=LearnRecipe)

    def run(self, args: Sequence[str]) -> int:
        """From documents to an adapter in force."""
        if self.output.resume:
            _nothing_else(self, "learn", LearnRecipe(), self.docs, self.recipe)
            return _learn(self.output, runs.taken_up(self.output.root, self.output.resume, "learn"), force=self.keep)
        recipe = _recipe(self, "learn", args)
        recipe = recipe.model_copy(update={"docs": self.docs or recipe.docs})
        if not isinstance(recipe.algorithm, RestEM):
            raise ConfigError(f"`learn` keeps the best self-edits, which is --algorithm rest_em; {recipe.algorithm.type} is for `selfedit train`")
        if not recipe.docs:
            raise DataError("nothing to learn: give files or folders, as in `selfedit learn notes.md docs/` (`selfedit demo` brings its own)")
        return _learn(self.output, runs.begun(self.output.root, "learn", recipe), force=self.keep)


@dataclass(frozen=True)
class Demo:
    """Learn a few bundled documents about invented things, which no model can know beforehand, and see what came of it.

    Examples:
      selfedit demo
      selfedit demo --limit 3 --engine fake    in seconds, without a model
      selfedit demo --resume latest            go on where it was stopped

    Fetches the default model where it is missing. Afterwards: selfedit ask, selfedit report, selfedit rollback.
    """

    output: Options = field(default_factory=Output)
    settings: Annotated[LearnRecipe, arg(name="")] = field(default_factory=lambda: as_flags(LearnRecipe, _packaged("demo")))

    def run(self, args: Sequence[str]) -> int:
        """As learn, on the held-out part of the bundled corpus."""
        if self.output.resume:
            _nothing_else(self, "demo", as_flags(LearnRecipe, _packaged("demo")))
            return _learn(self.output, runs.taken_up(self.output.root, self.output.resume, "demo"))
        return _learn(self.output, runs.begun(self.output.root, "demo", as_recipe(self.settings)))


@dataclass(frozen=True)
class Train:
    """Train the model to write better self-edits. Each round it writes some, learns from what helped and what did not, and is measured on documents
    that it never learns from.

    Examples:
      selfedit train                           the bundled documents, two rounds
      selfedit train recipe.toml --rounds 3
      selfedit train --algorithm grpo --reward likelihood
      selfedit train --algorithm grpo --propose.pick policy --propose.strategies self-qa key-facts rewrite
      selfedit train --algorithm bandit --propose.strategies self-qa key-facts rewrite
      selfedit train --docs train/ --eval-docs test/ --propose.candidates 8
      selfedit train --cold-start.enabled      first shown good self-edits, for a model that writes badly
      selfedit train --resume latest
    """

    recipe: MaybeFile = None
    """Settings from a TOML file (`selfedit show recipe` prints one); flags override it."""
    output: Options = field(default_factory=Output)
    settings: Annotated[AnyRecipe, arg(name="")] = field(default_factory=AnyRecipe)

    def run(self, args: Sequence[str]) -> int:
        """Rounds of the recipe's algorithm."""
        if self.output.resume:
            _nothing_else(self, "train", AnyRecipe(), self.recipe)
            held = runs.taken_up(self.output.root, self.output.resume, "train")
        else:
            held = runs.begun(self.output.root, "train", _recipe(self, "train", args))
        show = self.output.show
        with held as ledger:
            shown = identity.demonstrations(ledger)
            passages = identity.without(identity.documents(ledger, ledger.recipe.docs, "train"), shown)
            held_out = identity.documents(ledger, ledger.recipe.eval_docs, "heldout", step="held-out")
            identity.keep_apart(held_out, {identity.digest(passage.context) for passage in (*passages, *(one.passage for one in shown))})
            show.say(f"run {ledger.run_id}")
            work.train(ledger, passages, held_out, show, shown)
        return _end(self.output, ledger.folder, {"measure": f"selfedit eval --policy {ledger.run_id}"})


@dataclass(frozen=True)
class Eval:
    """Compare, on documents that nobody trained on: the model as it came, trained on each passage alone, on self-edits, and on what else
    `--eval.baselines` names; with `--policy`, the policy after each round too. Or, with `--reliability`, on documents to train on: how far rewards can be
    trusted, and what cheaper rounds would lose.

    Examples:
      selfedit eval --propose.strategies self-qa span-qa implications
      selfedit eval recipe.toml --eval-docs test/ --limit 20 --eval.seeds 3
      selfedit eval --eval.baselines base passage_only untrained best_of_k all_edits
      selfedit eval --policy latest            with the policy that the last `selfedit train` made
      selfedit eval --reliability --limit 12 --propose.candidates 4 --reliability.seeds 3
    """

    recipe: MaybeFile = None
    """Settings from a TOML file; flags override it."""
    policy: Annotated[str | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """A run of `train`: its policy, or the strategy that its search found, is measured beside the model as it came, with its settings (flags override
    them)."""
    reliability: bool = False
    """Train the same self-edits with several seeds: the reliability of each reward, and of each screen (docs/reliability.md)."""
    output: Options = field(default_factory=Output)
    settings: Annotated[EvalRecipe, arg(name="")] = field(default_factory=EvalRecipe)

    def run(self, args: Sequence[str]) -> int:
        """The rows of the recipe and, where a policy is given, those of its rounds."""
        policy = None
        if self.output.resume:
            _nothing_else(self, "eval", EvalRecipe(), self.policy, self.recipe, self.reliability)
            held = runs.taken_up(self.output.root, self.output.resume, "eval")
        elif self.reliability and self.policy:
            raise ConfigError("--reliability is measured with the model as it came: leave out --policy")
        else:
            policy = runs.find(self.output.root, self.policy, ("train",)) if self.policy else None
            held = runs.begun(self.output.root, "eval", _recipe(self, "eval", args, policy))
        show = self.output.show
        with held as ledger:
            if work.is_about_reliability(ledger, self.reliability):
                passages = identity.documents(ledger, ledger.recipe.docs, "train")
                show.say(f"run {ledger.run_id}")
                work.assess(ledger, passages, show)
                from selfedit.cli.reliability import end_of_study

                return end_of_study(self.output, ledger.folder)
            held_out = identity.documents(ledger, ledger.recipe.eval_docs, "heldout", step="held-out")
            learned = work.learned_by(ledger, policy)
            identity.keep_apart(held_out, learned.of)
            show.say(f"run {ledger.run_id}")
            work.evaluate(ledger, held_out, learned, show)
        return _end(self.output, ledger.folder, {})


# ---------------------------------------------------------------- beginning


def _nothing_else(command: Any, name: str, untouched: AnyRecipe, *others: object) -> None:
    """A resumed run keeps the settings it began with. Raises ConfigError where others were given."""
    if command.settings != untouched or any(others):
        raise ConfigError(f"a resumed run keeps what it began with: leave out all but `selfedit {name} --resume {command.output.resume}`")


def _recipe(command: Any, name: str, args: Sequence[str], policy: Path | None = None) -> Recipe:
    """The recipe: from a file or a policy's run if there is one, and over it the flags that were given. Checked before anything is loaded."""
    if command.recipe and policy:
        raise ConfigError("a policy is measured with its own settings: leave out the recipe (flags may change single settings)")
    if command.recipe or policy:
        before = _of_run(policy) if policy else load_recipe(command.recipe)
        kind = type(command.settings)
        command = parse(type(command), name, args, default=replace(type(command)(), settings=as_flags(kind, before)))
    recipe = as_recipe(command.settings)
    for choice in recipe.propose.strategies:
        for strategy in parts(choice):
            find_strategy(strategy)
    if name != "eval":
        check_learning(recipe)
    if name == "eval" and command.reliability and not needs(recipe.reward).answers:
        raise ConfigError(
            f"--reliability compares rewards of answers that are written once, which {recipe.reward.type} is not; choose another reward"
        )
    if name != "eval" or command.reliability or "best_of_k" in recipe.eval.baselines:  # the only row that asks for a reward
        check(recipe.reward)
    return recipe


def _of_run(folder: Path) -> Recipe:
    with Reader(folder) as reader:
        recipe, info = identity.recipe_of(reader), reader.info()
    return recipe.model_copy(update={"eval_docs": tuple(identity.as_then(info, path) for path in recipe.eval_docs)})


def _packaged(name: str) -> Recipe:
    with resources.as_file(resources.files("selfedit").joinpath(f"data/{name}.toml")) as file:
        return load_recipe(file)


# ---------------------------------------------------------------- learning, and what is said at the end


def _learn(output: Output, held: AbstractContextManager[Ledger], force: bool = False) -> int:
    show, root = output.show, output.root
    with held as ledger:
        passages = identity.documents(ledger, ledger.recipe.docs, "heldout")
        show.say(f"run {ledger.run_id}")
        work.learn(ledger, passages, show)
    from selfedit.report.comparison import unedited

    in_force = work.put_in_force(root, ledger.folder, force)
    facts = {"adapter": str(ledger.folder / "adapter")}
    with Reader(ledger.folder) as reader:
        if said := unedited(reader.tasks(), reader.selected()):
            facts["unedited"] = said
    if in_force:
        facts |= {"ask": 'selfedit ask "..."', "undo": "selfedit rollback"}
    else:
        facts |= {"in force": f"no; to use the adapter nevertheless: selfedit learn --resume {ledger.run_id} --keep"}
    return _end(output, ledger.folder, facts, adapter=facts["adapter"], in_force=in_force)


def _end(output: Output, folder: Path, facts: dict[str, str], **more: Any) -> int:
    """The table, the report, and what to do next."""
    from selfedit.cli.results import as_json, print_results

    show = output.show
    report = print_results(show, folder)
    for name, value in {"report": str(report), **facts}.items():
        show.fact(name, value)
    if output.json:
        print(as_json(folder, report=str(report), **more))
    return 0
