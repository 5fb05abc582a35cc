"""The commands that look at what happened: report, runs, show."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from selfedit import parts
from selfedit.cli.options import Where
from selfedit.directives import write
from selfedit.errors import ConfigError, DataError, LedgerError
from selfedit.ledger import Reader
from selfedit.ledger import runs as all_runs
from selfedit.library.force import opened
from selfedit.store import runs
from selfedit.system.console import Show as Printer
from selfedit.system.console import share
from selfedit.types import Candidate, Proposal, VectorEdit

KINDS = {
    "domains": "domain",
    "strategies": "strategy",
    "inners": "inner",
    "rewards": "reward",
    "prefilters": "prefilter",
    "algorithms": "algorithm",
    "guards": "guard",
    "baselines": "baseline",
    "engines": "engine",
}
"""The kinds of parts that can be listed."""


@dataclass(frozen=True)
class Report:
    """Write the report of a run: one HTML file that needs no network. It says what the run found before it shows numbers.

    Examples:
      selfedit report                          of the last run, beside its ledger
      selfedit report 20260131 --out report.html
      selfedit report --library                of what is in force: every document, to be searched, versions and the gate
    """

    run_: Positional[Annotated[str, arg(name="run", metavar="[RUN]", help_behavior_hint="(default: the last one)")]] = "latest"
    """The id of a run, the beginning of one, or its folder."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Where to write it."""
    library: bool = False
    """Of the library in place of a run; beside its database, unless --out says where."""
    where: Annotated[Where, arg(name="")] = field(default_factory=Where)

    def run(self, args: Sequence[str]) -> int:
        """The path of the page is all that is printed."""
        printer = Printer()
        if self.library:
            path = self._library(printer)
        else:
            from selfedit.report import write

            folder = runs.find(self.where.root, self.run_)
            with printer.stage("Writing the report"):
                path = write(folder, self.out)
        printer.line(str(path))
        return 0

    def _library(self, printer: Printer) -> Path:
        from selfedit.library.overview import overview
        from selfedit.report.library import write_library

        if self.run_ != "latest":
            raise ConfigError(f"--library is about all that was learned; leave '{self.run_}' out, or --library")
        library = opened(self.where.root)
        if not library.exists():
            raise DataError(f"nothing was learned yet in {self.where.root}: begin with `selfedit learn DOCS`")
        with printer.stage("Writing the report"):
            return write_library(overview(library), self.out or library.folder / "report.html")


@dataclass(frozen=True)
class Runs:
    """List the runs, the newest first: what they are, how they ended, and the share of held-out questions answered before and after.

    Examples:
      selfedit runs
      selfedit runs --runs elsewhere           of another folder
    """

    where: Annotated[Where, arg(name="")] = field(default_factory=Where)

    def run(self, args: Sequence[str]) -> int:
        """A line each; those whose adapters are in force are marked."""
        root, printer = self.where.root, Printer()
        found, in_force = all_runs(root), {entry.run for entry in opened(root).entries()}
        if not found:
            printer.line(f"no runs in {root} yet; begin with: selfedit demo")
            return 0
        rows = [[run.id, run.status + (", in force" if run.id in in_force else ""), run.model, share(run.before), share(run.after)] for run in found]
        printer.table(["run", "status", "model", "before", "after"], rows, words=(0, 1, 2))
        for run in found:
            if run.problem:
                printer.line(f"{run.id}: {run.problem}")
        return 0


@dataclass(frozen=True)
class Show:
    """Look into a run, or list what can be chosen.

    Examples:
      selfedit show latest                     a run: its result, what changed in the self-edits, cost, files
      selfedit show latest --candidate corpus-0003:0:1
      selfedit show strategies                 how self-edits can be written
      selfedit show rewards                    what a self-edit can be worth
      selfedit show algorithms                 how the policy can learn from rewards; likewise guards, baselines, prefilters, ...
      selfedit show directives                 what the policy can set itself for each self-edit
      selfedit show models                     packaged models
      selfedit show recipe > recipe.toml       a recipe with all its settings
    """

    what: Positional[Annotated[str, arg(metavar="RUN|LIST")]]
    """A run, or a list: domains, strategies, inners, rewards, prefilters, algorithms, guards, baselines, engines, directives, models, recipe."""
    plugins: Annotated[tuple[str, ...], arg(metavar="MODULE", help_behavior_hint="")] = ()
    """Modules with parts of your own, which are listed too."""
    candidate: Annotated[str | None, arg(metavar="TASK:ROUND:INDEX", help_behavior_hint="")] = None
    """Print this self-edit of the run in full: what was asked, what came back, what was learned from it, how it was scored."""
    json: bool = False
    """A run as one object for scripts: tasks, candidates, results, verdicts."""
    where: Annotated[Where, arg(name="")] = field(default_factory=Where)

    def run(self, args: Sequence[str]) -> int:
        """Print it."""
        lists = {"directives": _directives, "models": _models, "recipe": _recipe} | {
            plural: partial(_kind, kind=kind) for plural, kind in KINDS.items()
        }
        printer = Printer()
        if self.what in lists:
            if self.candidate:
                raise ConfigError(f"--candidate needs a run, as in `selfedit show latest --candidate {self.candidate}`")
            parts.load(self.plugins)
            lists[self.what](printer)
        elif self.candidate:
            _candidate(printer, runs.find(self.where.root, self.what), self.candidate)
        else:
            near = difflib.get_close_matches(self.what, lists, n=1)
            try:
                folder = runs.find(self.where.root, self.what)
                _object(folder) if self.json else _run(printer, folder)
            except LedgerError as error:
                raise LedgerError(f"{error}; or do you mean `selfedit show {near[0]}`?" if near else str(error)) from error
        return 0


def _kind(printer: Printer, kind: str) -> None:
    """The parts of a kind, with their settings; where one of yours comes from."""
    rows = []
    for entry in parts.KINDS[kind]:
        if not getattr(entry.build, "asked", True):  # a row that a run makes by itself
            continue
        settings = ", ".join(name for name in entry.settings.model_fields if name != "type")
        rows.append([entry.name, entry.means, settings, entry.module if entry.sha256 else ""])
    columns = [kind, "what it means", "settings", *(["from"] if any(row[3] for row in rows) else [])]
    printer.table(columns, [row[: len(columns)] for row in rows], words=range(4))


def _models(printer: Printer) -> None:
    from selfedit.models.catalogue import packaged
    from selfedit.models.fetch import cached

    rows = [[m.name, "yes" if cached(m) else "no", f"{m.download_mb} MB", m.licence, m.description] for m in packaged()]
    printer.table(["model", "fetched", "download", "licence", "what it is"], rows, words=(0, 1, 3, 4))
    printer.line("Others: a folder, or a name of the Hugging Face hub such as org/name.", "dim")


def _recipe(printer: Printer) -> None:
    from selfedit.config.toml import recipe_toml

    printer.out.print(recipe_toml(), end="", markup=False, soft_wrap=True)


def _directives(printer: Printer) -> None:
    """Those of every inner loop and domain, with the alternatives that they have by default."""
    rows = []
    for kind in ("inner", "domain"):
        for entry in parts.KINDS[kind]:
            declared = entry.build(entry.settings()).directives()
            rows += [[one.name, one.means, ", ".join(one.written), write(one.default), f"{kind} {entry.name}"] for one in declared]
    printer.table(["directive", "what it means", "alternatives", "by default", "of"], rows, words=range(5))


def _run(printer: Printer, folder: Path) -> None:
    from selfedit.cli.results import compared, in_words
    from selfedit.report.analysis import review
    from selfedit.report.findings import sentences
    from selfedit.system.console import comparison

    with Reader(folder) as reader:
        info, cost, steps, content = reader.info(), reader.cost(), reader.steps(), reader.content_hash()
        artifacts, verdicts, candidates, tasks = reader.artifacts(), reader.verdicts(), reader.candidates(), reader.tasks()
        analysis = review(reader)
    for name, value in (
        ("run", info.run_id),
        ("folder", str(folder)),
        ("command", f"selfedit {info.command}, version {info.version}, begun {info.created_at}"),
        ("status", info.status + (f" since {info.finished_at}" if info.finished_at else "")),
        ("model", f"{info.recipe.get('model')} on {info.environment.get('processor', '?')}"),
        ("steps", f"{len(steps)} finished" + (f", the last is {steps[-1].name}" if steps else "")),
        ("contents", f"{len(tasks)} tasks, {len(candidates)} candidates"),
        ("cost", in_words(cost)),
        ("hash", content),
        *((f"{artifact.name}", f"{folder / artifact.path} sha256 {artifact.sha256}") for artifact in artifacts),
        *(("guard", f"{verdict.guard}: {verdict.decision}; {verdict.reason}") for verdict in verdicts),
    ):
        printer.fact(name, value)
    found = compared(folder)
    if found.rows:
        comparison(printer, found)
    if analysis:
        printer.line()
        for sentence in sentences(analysis):
            printer.line(sentence)
    if candidates:
        first = candidates[0].proposal
        printer.line()
        printer.line(f"One self-edit: selfedit show {info.run_id} --candidate {first.task_id}:{first.round}:{first.index}", "dim")


def _object(folder: Path) -> None:
    from selfedit.report.dump import as_object

    with Reader(folder) as reader, reader.snapshot():
        print(json.dumps(as_object(reader), ensure_ascii=False, allow_nan=False))


def _candidate(printer: Printer, folder: Path, name: str) -> None:
    task, _, rest = name.rpartition(":")[0].rpartition(":")
    index = name.rpartition(":")[2]
    if not (task and rest.isdecimal() and index.isdecimal()):
        raise ConfigError(f"a candidate is named TASK:ROUND:INDEX, as in corpus-0003:0:1; '{name}' is not")
    with Reader(folder) as reader:
        proposals, candidates = reader.proposals(int(rest)), reader.candidates(int(rest))
    proposal = next((p for p in proposals if p.task_id == task and p.index == int(index)), None)
    if proposal is None:
        there = ", ".join(f"{p.task_id}:{p.round}:{p.index}" for p in proposals[:3]) or "none in this round"
        raise LedgerError(f"run {folder.name} has no self-edit {name}; there are: {there}{', ...' if len(proposals) > 3 else ''}")
    _print_edit(printer, proposal, next((c for c in candidates if c.proposal == proposal), None))


def _print_reward(printer: Printer, candidate: Candidate) -> None:
    reward = candidate.reward
    printer.fact("reward", f"{reward.value:+.4f} ({reward.kind})" if reward.value is not None else f"unscored: {reward.reason}")
    if reward.parts:
        printer.fact("made of", ", ".join(f"{name} {figure:.4f}" for name, figure in reward.parts))
    losses = f", loss {candidate.losses[0]:.3f} to {candidate.losses[-1]:.3f}" if candidate.losses else ""
    printer.fact("trained", f"{candidate.tokens:,} tokens{losses}")


def _print_vector(printer: Printer, vector: VectorEdit) -> None:
    what = "weigh directions of a gradient" if vector.basis else f"mix {vector.rank} singular directions of each weight, by the seed {vector.seed}"
    printer.line(f"the edit: {vector.width} numbers of each layer, which {what}", "dim")
    for place, layer in enumerate(vector.layers):
        own = vector.values[place * vector.width : (place + 1) * vector.width]
        printer.line(f"layer {layer}: {', '.join(f'{value:+.4f}' for value in own)}")


def _print_edit(printer: Printer, proposal: Proposal, candidate: Candidate | None) -> None:
    edit = proposal.edit
    printer.fact("strategy", f"{edit.strategy}, seed {proposal.seed}")
    if edit.directives:
        printer.fact("directives", ", ".join(f"{name} {write(value)}" for name, value in edit.directives))
    if candidate:
        _print_reward(printer, candidate)
    for number, turn in enumerate(edit.turns, start=1):
        printer.line()
        printer.line(f"asked ({number} of {len(edit.turns)})", "dim")
        printer.line(turn.prompt.text)
        if turn.prompt.given:
            printer.line(f"{'drawn from' if number <= len(edit.decisions) else 'to be answered with'}: {turn.prompt.given}", "dim")
        printer.line(f"written{', cut off at the token limit' if turn.finish_reason == 'length' else ''}", "dim")
        printer.line(turn.completion)
    printer.line()
    if edit.vector:
        _print_vector(printer, edit.vector)
        return
    printer.line(f"learned from it: {len(edit.examples)} examples", "dim")
    for example in edit.examples:
        printer.line(f"{example.prompt} → {example.text}" if example.prompt else example.text)
    for dropped in edit.dropped:
        printer.line(f"left out, {dropped.reason}: {dropped.text}", "dim")
    if candidate and candidate.answers:
        printer.line()
        printer.line("answers to the questions it was chosen by", "dim")
        for answer in candidate.answers:
            asked = answer.question
            mark = {True: "right", False: "wrong", None: "said"}[answer.correct]
            printer.line(f"{mark}: {asked.question} → {answer.prediction} (gold: {asked.answer or 'unknown'})")
