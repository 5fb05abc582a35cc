"""The commands that make runs: learn, demo, train, eval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from selfedit import api, parts
from selfedit.baselines import Baseline
from selfedit.cli.flags import as_recipe, named
from selfedit.cli.options import Output
from selfedit.config import Recipe, beginning, load_recipe, packaged, packaged_for
from selfedit.errors import ConfigError
from selfedit.store import runs

File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
MaybeFile = Positional[Annotated[Path | None, arg(metavar="[FILE]", help_behavior_hint="")]]
Options = Annotated[Output, arg(name="")]
Compared = Literal["recipe", "none", "passage", "all"]


class MakesRuns:
    """A command whose settings are a recipe."""

    flags: ClassVar[str]
    """Which flags of the recipe it has: `cli.flags.SUPPRESSED`."""
    settings: Any

    @classmethod
    def begins_with(cls, args: Sequence[str] = ()) -> Recipe | None:
        """The recipe that flags change: the one that the arguments name, or that their domain begins with; None for the defaults."""
        file = cls.recipe_file(args)
        return load_recipe(file) if file else next(filter(None, map(beginning, named(args, "domain")[:1])), None)

    @classmethod
    def recipe_file(cls, args: Sequence[str]) -> Path | None:
        """The recipe's file, found before the flags are known, because it says which flags there are."""
        if cls.flags == "learn":
            return next(map(Path, named(args, "recipe")), None)
        if "--" in args:
            return next(map(Path, args[args.index("--") + 1 :]), None)
        with_values = ("edits", "docs", "eval-docs", "cold-start.examples", "plugins", "runs", "policy", "recipe")
        of_flags = {value for key in with_values for value in named(args, key)}
        names = [one for one in args if not one.startswith("-") and one not in of_flags]
        likely = [*args[:1], *(one for one in names if one.endswith(".toml")), *(one for one in names if Path(one).is_file())]
        return next((Path(one) for one in likely if not one.startswith("-")), None)

    def chosen(self, args: Sequence[str]) -> Recipe:
        """The recipe with the flags that were given. Raises ConfigError where the file is not the one whose flags these are."""
        if getattr(self, "recipe", None) != (read := self.recipe_file(args)):
            raise ConfigError(f"no recipe in {getattr(self, 'recipe', None) or read}: put the recipe's file first, before every flag")
        return as_recipe(self.settings)


@dataclass(frozen=True)
class Learn(MakesRuns):
    """Learn documents. The model writes training data about each (self-edits), the best of it is kept, and an adapter is trained on that.

    Examples:
      selfedit learn notes.md docs/            text, Markdown, or JSON Lines with title, context and questions
      selfedit learn docs/ --propose.strategies span-qa --propose.candidates 3
      selfedit learn docs/ --model ~/models/mine --inner.lora.rank 8
      selfedit learn --resume latest           go on where a run was stopped

    Questions that come with a document are divided: some choose between self-edits, the others are only ever asked for the table at the end.
    Where none come, the model writes its own and confirms them. The model is never changed: what it learned of a document is an adapter of a few MB
    that joins the library, unless a guard was against it. `selfedit ask` uses it for questions about the document; all others are answered by the
    untrained model. `selfedit log`, `rollback` and `forget` look after the library.
    """

    flags = "learn"
    docs: Positional[Annotated[tuple[Path, ...], arg(metavar="[DOCS ...]", help_behavior_hint="")]] = ()
    """Files and folders: .txt, .md, .jsonl."""
    recipe: File = None
    """Settings from a TOML file (`selfedit show recipe` prints one); flags override it. Without one: short answers are taught."""
    baselines: Compared = "recipe"
    """Baselines to train: `none`, the bare `passage`, `all`, or those of the recipe (without one: `passage`)."""
    keep: bool = False
    """Put adapters in force even if a guard was against them."""
    output: Options = field(default_factory=Output)

    @classmethod
    def begins_with(cls, args: Sequence[str] = ()) -> Recipe | None:
        """The recipe that is given, or the packaged one."""
        return super().begins_with(args) or packaged("learn")

    def run(self, args: Sequence[str]) -> int:
        """From documents to adapters in force."""
        output = self.output
        if output.resume:
            _nothing_else(self, "learn", self.docs, self.recipe, self.baselines != "recipe")
            return _learned(output, api.learn(resume=output.resume, keep=self.keep, folder=output.root, watch=output.show))
        recipe = compared(as_recipe(self.settings), self.baselines)
        return _learned(output, api.learn(self.docs, recipe=recipe, keep=self.keep, folder=output.root, watch=output.show))


@dataclass(frozen=True)
class Demo(MakesRuns):
    """Learn a few bundled documents about invented things, which no model can know beforehand, and see what came of it.

    Examples:
      selfedit demo
      selfedit demo --limit 3 --engine fake    in seconds, without a model
      selfedit demo --resume latest            go on where it was stopped

    Fetches the default model where it is missing. Afterwards: selfedit ask, selfedit report, selfedit rollback.
    """

    flags = "learn"
    output: Options = field(default_factory=Output)

    @classmethod
    def begins_with(cls, args: Sequence[str] = ()) -> Recipe | None:
        """The packaged recipe."""
        return packaged("demo")

    def run(self, args: Sequence[str]) -> int:
        """As learn, on the held-out part of the bundled corpus."""
        output = self.output
        recipe = None if output.resume else as_recipe(self.settings)
        if output.resume:
            _nothing_else(self, "demo")
        return _learned(output, api.demo(recipe, resume=output.resume, folder=output.root, watch=output.show))


@dataclass(frozen=True)
class Train(MakesRuns):
    """Train the model to write better self-edits. Each round it writes some, learns from what helped and what did not, and is measured on documents
    that it never learns from.

    Examples:
      selfedit train                           the bundled documents, two rounds
      selfedit train recipe.toml --rounds 3
      selfedit train --algorithm grpo --reward likelihood
      selfedit train --algorithm grpo --propose.pick policy --propose.strategies self-qa key-facts rewrite
      selfedit train --propose.directives lr epochs layers      the policy sets how it is trained on what it wrote
      selfedit train --algorithm bandit --propose.strategies self-qa key-facts rewrite
      selfedit train --docs train/ --eval-docs test/ --propose.candidates 8
      selfedit train --cold-start.enabled      first shown good self-edits, for a model that writes badly
      selfedit train --edits vector            self-edits are numbers that change a few layers, no texts (docs/self-edits.md)
      selfedit train --edits data,directives,vector             texts, how they are trained on, and a vector on top of each adapter
      selfedit train --harvest.questions 8     between rounds, adapters' own answers to fresh questions join what is trained on
      selfedit train --resume latest
    """

    flags = "train"
    recipe: MaybeFile = None
    """Settings from a TOML file (`selfedit show recipe` prints one); flags override it."""
    output: Options = field(default_factory=Output)

    @classmethod
    def begins_with(cls, args: Sequence[str] = ()) -> Recipe | None:
        """The recipe that is given, or the packaged one for the kind of self-edits."""
        return super().begins_with(args) or packaged_for(named(args, "edits"))

    def run(self, args: Sequence[str]) -> int:
        """Rounds of the recipe's algorithm."""
        output = self.output
        if output.resume:
            _nothing_else(self, "train", self.recipe)
        recipe = None if output.resume else self.chosen(args)
        run = api.train(recipe, resume=output.resume, folder=output.root, watch=output.show)
        facts = {"measure": f"selfedit eval --policy {run.id}"} if run.recipe.open("inner").trains else {}
        return _end(output, run, facts | (_of_vectors(run) if run.recipe.added or not facts else {}))


@dataclass(frozen=True)
class Eval(MakesRuns):
    """Compare, on documents that nobody trained on, the untrained model, adapters trained on the passages or on self-edits, and the other rows of
    `--eval.baselines`; with `--policy`, the policy after each round too. With `--reliability`, measure on training documents how far rewards
    can be trusted, and what cheaper rounds would lose.

    Examples:
      selfedit eval --propose.strategies self-qa span-qa implications
      selfedit eval recipe.toml --eval-docs test/ --limit 20 --eval.seeds 3
      selfedit eval --eval.baselines base passage_only untrained best_of_k all_edits
      selfedit eval --policy latest            with the policy that the last `selfedit train` made
      selfedit eval --reliability --limit 12 --propose.candidates 4 --reliability.seeds 3
    """

    flags = "eval"
    recipe: MaybeFile = None
    """Settings from a TOML file; flags override it."""
    policy: Annotated[str | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """A run of `train`: its policy, or the strategy that its search found, is measured too, with its settings (flags override them)."""
    reliability: bool = False
    """Train the same self-edits with several seeds: the reliability of each reward, and of each prefilter (docs/reliability.md)."""
    output: Options = field(default_factory=Output)

    @classmethod
    def begins_with(cls, args: Sequence[str] = ()) -> Recipe | None:
        """The recipe of the run whose policy is measured, where there is one."""
        before, policy = super().begins_with(args), named(args, "policy")
        if before and policy:
            raise ConfigError("a policy is measured with its own settings: leave out the recipe (flags may change single settings)")
        if policy and "--reliability" in args:
            raise ConfigError("--reliability is measured with the untrained model: leave out --policy")
        return api.recipe_of(runs.find(runs.root(*named(args, "runs")[:1]), policy[0], ("train",))) if policy else before

    def run(self, args: Sequence[str]) -> int:
        """The rows of the recipe and, where a policy is given, those of its rounds."""
        output, policy = self.output, None
        if output.resume:
            _nothing_else(self, "eval", self.policy, self.recipe, self.reliability)
        elif self.policy:
            policy = api.Run(runs.find(output.root, self.policy, ("train",)))
        recipe = None if output.resume else self.chosen(args)
        run = api.evaluate(recipe, policy=policy, reliability=self.reliability, resume=output.resume, folder=output.root, watch=output.show)
        if run.measures_reliability:
            from selfedit.cli.reliability import end_of_study

            return end_of_study(output, run.folder)
        return _end(output, run, {})


# ---------------------------------------------------------------- beginning


def _nothing_else(command: Any, name: str, *others: object) -> None:
    """A resumed run keeps the settings it began with. Raises ConfigError where others were given."""
    if as_recipe(command.settings) != (command.begins_with() or Recipe()) or any(others):
        raise ConfigError(f"a resumed run keeps what it began with: leave out all but `selfedit {name} --resume {command.output.resume}`")


def compared(recipe: Recipe, rows: Compared) -> Recipe:
    """The recipe with other rows beside the result of `learn`."""
    if rows == "recipe":
        return recipe
    able = tuple(entry.name for entry in parts.KINDS["baseline"] if getattr(entry.build, "together", None) is not Baseline.together)
    chosen = {"none": (), "passage": ("passage_only",), "all": able}[rows]
    return recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"baselines": chosen})})


# ---------------------------------------------------------------- what is said at the end


def _learned(output: Output, run: api.Run) -> int:
    from selfedit.library.force import opened
    from selfedit.report.comparison import unedited
    from selfedit.report.findings import harvest, routing

    adapters, facts = run.adapters, {}
    with run.reader() as reader:
        said_of, refused = routing(reader.routed()) | harvest(reader.harvested()), {one.about for one in reader.verdicts() if one.against}
        if said := unedited(reader.tasks(), reader.selected()):
            facts["unedited"] = said
    facts["adapters"] = f"{len(adapters)} in {run.folder / 'library'}"
    facts |= said_of
    if run.in_force:
        version = opened(output.root).version()
        assert version is not None
        facts |= {
            "library": f"version {version.number}, {version.documents} documents in force",
            "ask": 'selfedit ask "..."',
            "undo": "selfedit rollback",
        }
    if refused and (names := [title for title, folder in adapters.items() if folder.name in refused or "" in refused]):
        facts |= {"not in force": f"{'; '.join(names)}: a guard was against it; to use it nevertheless: selfedit learn --resume {run.id} --keep"}
    return _end(output, run, facts, adapters={title: str(folder) for title, folder in adapters.items()}, in_force=run.in_force)


def _of_vectors(run: api.Run) -> dict[str, str]:
    """How likely the right answers are in each row, which is what edit vectors are rewarded for, and what is left to use."""
    found = [f"{row.label} {row.gold_logprob.mean:.2f}" for row in run.comparison.rows if row.gold_logprob]
    use = {"mean edit": f"selfedit export {run.id} FOLDER, an adapter in PEFT's format"} if run.adapters else {}
    return {"right answers": f"log-likelihood in nats a token: {', '.join(found)}", **use}


def _end(output: Output, run: api.Run, facts: dict[str, str], **more: Any) -> int:
    """The table, the report, and what to do next."""
    from selfedit.cli.results import as_json, print_results

    show = output.show
    report = print_results(show, run.folder)
    for name, value in {"report": str(report), **facts}.items():
        show.fact(name, value)
    if output.json:
        print(as_json(run.folder, report=str(report), **more))
    return 0
