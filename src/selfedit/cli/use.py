"""The commands that use what was learned: ask, export, dataset, rollback."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from selfedit import api
from selfedit.cli.options import Where
from selfedit.errors import ConfigError, ModelError
from selfedit.library import Entry
from selfedit.library.force import of_run
from selfedit.store import runs
from selfedit.store.artifacts import copy_adapters
from selfedit.system.console import Show
from selfedit.text import plain_words

Run = Annotated[str | None, arg(metavar="RUN", help_behavior_hint="")]
WRITING = ("learn", "demo", "train")
"""The commands whose runs write self-edits to learn from."""


@dataclass(frozen=True)
class Ask:
    """Answer a question with what was learned and, beside it, without. The documents are not shown to the model, unless --open-book.

    Examples:
      selfedit ask "Where was Odwin Marrack born?"
      selfedit ask "Where was he born?" --topic "Odwin Marrack"
      selfedit ask "Who built the mill?" --run 20260131
      selfedit ask "Who built the mill?" --open-book
    """

    question: Positional[Annotated[str, arg(metavar="QUESTION")]]
    """What to ask. Short questions about one fact, as a person who read the documents could answer them."""
    topic: Annotated[str | None, arg(metavar="TITLE", help_behavior_hint="")] = None
    """The title of the document or section it is about. Without it, a gate chooses the document, or none: then the untrained model answers."""
    open_book: bool = False
    """Show the text of the chosen document to the model, with the adapter and without."""
    run_: Annotated[Run, arg(name="run")] = None
    """Ask the adapters of this run of `learn`, in force or not. Without it, everything in force."""
    where: Annotated[Where, arg(name="")] = field(default_factory=Where)
    quiet: bool = False
    """No progress, only the answers."""
    json: bool = False
    """The answers as one line of JSON on standard output."""

    def run(self, args: Sequence[str]) -> int:
        """Two answers."""
        show = Show(quiet=self.quiet, json=self.json)
        answers = api.ask(self.question, topic=self.topic, open_book=self.open_book, run=self.run_, folder=self.where.root, watch=show)
        who = f"what was learned of {answers.topic!r}" if answers.topic else "the untrained model: no document fits"
        show.fact("answered by", f"{who} (sure to {answers.sure:.0%})" if self.topic is None else who)
        show.fact("learned", answers.learned)
        show.fact("before", answers.before)
        if self.json:
            print(json.dumps(asdict(answers), ensure_ascii=False))
        return 0


@dataclass(frozen=True)
class Export:
    """Copy a run's adapters to a folder of your own, in PEFT's format: any tool that takes LoRAs takes them. Several have a folder each.

    Examples:
      selfedit export my-adapter               of the last run of learn
      selfedit export 20260131-1200 my-adapter
    """

    names: Positional[Annotated[tuple[str, ...], arg(name="run-out", metavar="[RUN] OUT", help_behavior_hint="")]]
    """The run (default: the last one of learn), and a folder that is not there yet."""
    where: Annotated[Where, arg(name="")] = field(default_factory=Where)

    def run(self, args: Sequence[str]) -> int:
        """Whole copies or none."""
        if len(self.names) not in (1, 2):
            raise ConfigError("export takes a run and a folder, or a folder alone: selfedit export [RUN] OUT")
        folder = runs.find(self.where.root, self.names[0] if len(self.names) == 2 else "latest", runs.LEARNING)
        entries, out = of_run(folder), Path(self.names[-1]).expanduser()
        config = json.loads((entries[0].folder / "adapter_config.json").read_text(encoding="utf-8"))
        if config.get("peft_type") != "LORA":
            raise ModelError(f"the adapters of run {folder.name} were made by the fake engine and have no weights: learn with a real model")
        if out.exists():
            raise ConfigError(f"{out} exists already; export writes to a new folder")
        copy_adapters({_place(entries, n): one.folder for n, one in enumerate(entries)}, out)
        show = Show()
        for n, one in enumerate(entries):
            show.fact("adapter", f"{out / _place(entries, n)} of {'; '.join(document.title for document in one.documents)}")
        show.fact("model", str(config["base_model_name_or_path"]))
        show.fact("use", f"peft.PeftModel.from_pretrained(model, {str(out / _place(entries, 0))!r})")
        return 0


def _place(entries: Sequence[Entry], n: int) -> str:
    """A folder for each adapter, named after its document; one alone needs none."""
    title = entries[n].documents[0].title if entries[n].documents else ""
    name = "-".join(plain_words(title))[:40].strip("-.") or "document"
    return f"{n:04}-{name}" if len(entries) > 1 else ""


@dataclass(frozen=True)
class Dataset:
    """Write the self-edits of a run as JSON Lines for other trainers: what the model was asked, what it wrote, its reward. docs/other-trainers.md.

    Examples:
      selfedit dataset edits.jsonl --kept      of the last run, those that were learned from: to imitate
      selfedit dataset 20260131 pairs.jsonl --pairs
      selfedit dataset examples.jsonl --examples --min-reward 0.5
    """

    names: Positional[Annotated[tuple[str, ...], arg(name="run-out", metavar="[RUN] OUT", help_behavior_hint="")]]
    """The run (default: the last one that wrote self-edits to learn from), and a file that is not there yet."""
    pairs: bool = False
    """The best and the worst self-edit of each task, round and strategy, as `prompt`, `chosen` and `rejected`."""
    picks: bool = False
    """How the policy picked strategies (`propose.pick`) and set directives (`propose.directives`), in place of what it wrote."""
    examples: bool = False
    """What adapters were trained on, as `prompt` and `completion`, in place of what the model was asked and wrote."""
    kept: bool = False
    """Only self-edits that were learned from."""
    min_reward: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Only self-edits with at least this reward."""
    strategies: Annotated[tuple[str, ...], arg(metavar="NAME", help_behavior_hint="")] = ()
    """Only self-edits of these strategies."""
    only: Annotated[Literal["messages", "text"] | None, arg(metavar="messages|text", help_behavior_hint="")] = None
    """Only what answered a user's turn, or what continued a text, where a run has both: a file has rows of one form."""
    overwrite: bool = False
    """Replace the file where there is one."""
    where: Annotated[Where, arg(name="")] = field(default_factory=Where)

    def run(self, args: Sequence[str]) -> int:
        """A whole file or none."""
        from selfedit.store.dataset import Form, write

        if len(self.names) not in (1, 2):
            raise ConfigError("dataset takes a run and a file, or a file alone: selfedit dataset [RUN] OUT")
        forms: dict[Form, bool] = {"pairs": self.pairs, "picks": self.picks, "examples": self.examples}
        asked = [form for form, wanted in forms.items() if wanted]
        if len(asked) > 1:
            raise ConfigError(f"--{asked[0]} and --{asked[1]} are two forms: one file holds one of them")
        folder, out = runs.find(self.where.root, self.names[0] if len(self.names) == 2 else "latest", WRITING), Path(self.names[-1]).expanduser()
        if out.is_dir() or (out.exists() and not self.overwrite):
            raise ConfigError(f"{out} is a folder; name a file" if out.is_dir() else f"{out} exists already; --overwrite replaces it")
        form = asked[0] if asked else "edits"
        rows = write(folder, out, form, self.kept, self.min_reward, self.strategies, self.only)
        show = Show()
        show.fact("rows", f"{rows:,} {form} of run {folder.name}")
        show.fact("file", str(out))
        show.fact("use", f"datasets.load_dataset('json', data_files={str(out)!r})")
        return 0
