"""The commands that look after what was learned: log, diff, rollback, forget, consolidate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from selfedit import api
from selfedit.cli.flags import as_recipe
from selfedit.cli.flags import named as given
from selfedit.cli.options import Output, Where
from selfedit.cli.work import MakesRuns
from selfedit.config import Recipe, parse_recipe
from selfedit.errors import ConfigError
from selfedit.library import Document, Library, Version
from selfedit.library.force import named, opened
from selfedit.store import runs
from selfedit.system.console import Show

Place = Annotated[Where, arg(name="")]
AsJson = Annotated[bool, arg(help_behavior_hint="")]


@dataclass(frozen=True)
class Log:
    """What was learned, version by version, the last one first. A version is named by a number and by the digest of all that is in it.

    Examples:
      selfedit log
      selfedit log --documents                 what is in force, with the adapter of each document
      selfedit log --documents --version 3     what was in force in version 3
    """

    documents: bool = False
    """The documents in force in place of the versions."""
    version: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """With --documents: those of this version."""
    where: Place = field(default_factory=Where)
    json: AsJson = False
    """One line of JSON."""

    def run(self, args: Sequence[str]) -> int:
        """The history, or what is in force."""
        library, show = opened(self.where.root), Show(json=self.json)
        if self.version is not None and not self.documents:
            raise ConfigError("--version says whose documents are listed: selfedit log --documents --version N")
        if self.documents:
            return self._documents(library, show)
        versions = library.history()
        if self.json:
            print(json.dumps([asdict(one) for one in versions], ensure_ascii=False))
            return 0
        if not versions:
            show.line(f"nothing was learned yet in {self.where.root}")
        for one in reversed(versions):
            mark = "in force" if one is versions[-1] else ""
            show.line(
                f"{one.number:>4}  {one.digest[:10]}  {one.at[:16].replace('T', ' ')}  {one.action:<11} {_counted(one)}  {one.note}  {mark}".rstrip()
            )
        return 0

    def _documents(self, library: Library, show: Show) -> int:
        library.version(self.version)
        entries = library.entries(self.version)
        if self.json:
            rows = [{"id": d.id, "title": d.title, "adapter": e.id, "run": e.run, "folder": str(e.folder)} for e in entries for d in e.documents]
            print(json.dumps(rows, ensure_ascii=False))
            return 0
        if not entries:
            show.line("nothing is in force: the untrained model answers")
        for entry in entries:
            for one in entry.documents:
                show.line(f"{one.id[:8]}  adapter {entry.id[:10]}  run {entry.run}  {one.title}")
        return 0


@dataclass(frozen=True)
class Diff:
    """What one version has and another has not.

    Examples:
      selfedit diff 2 5
      selfedit diff 4          the version in force over version 4
    """

    versions: Positional[Annotated[tuple[int, ...], arg(metavar="A [B]", help_behavior_hint="")]]
    """Two versions; without the second, the one in force."""
    where: Place = field(default_factory=Where)
    json: AsJson = False
    """One line of JSON."""

    def run(self, args: Sequence[str]) -> int:
        """Added, removed, and learned anew."""
        if len(self.versions) not in (1, 2):
            raise ConfigError("diff takes one version or two: selfedit diff A [B]")
        library, show = opened(self.where.root), Show(json=self.json)
        for number in self.versions:
            library.version(number)
        a, b = (_held(library, number) for number in (self.versions[0], self.versions[1] if len(self.versions) == 2 else None))
        found = {
            "added": [b[key][0].title for key in b if key not in a],
            "removed": [a[key][0].title for key in a if key not in b],
            "learned anew": [b[key][0].title for key in b if key in a and a[key][1] != b[key][1]],
        }
        if self.json:
            print(json.dumps(found, ensure_ascii=False))
            return 0
        for name, titles in found.items():
            for title in titles:
                show.fact(name, title)
        if not any(found.values()):
            show.line("the same documents with the same adapters")
        return 0


@dataclass(frozen=True)
class Rollback:
    """Take the last change back, or go back to a version: exactly what was in force then is in force again.

    Examples:
      selfedit rollback
      selfedit rollback 3      to version 3 of `selfedit log`; 0 is the untrained model

    The weights of the model were never changed. Nothing is deleted: a rollback is a version too, and can be taken back.
    """

    version: Positional[Annotated[int | None, arg(metavar="[VERSION]", help_behavior_hint="")]] = None
    """A number of `selfedit log`. Without it, the one before the last change."""
    where: Place = field(default_factory=Where)

    def run(self, args: Sequence[str]) -> int:
        """Back."""
        library, show = opened(self.where.root), Show()
        now = library.rollback(self.version)
        show.fact("in force", f"{_counted(now)}, as version {now.number}" if now.documents else "the untrained model")
        return 0


@dataclass(frozen=True)
class Forget:
    """Take single documents out of what was learned; all others stay as they are.

    Examples:
      selfedit forget "Odwin Marrack"
      selfedit forget 3fd2a8c1                 by the beginning of its id in `selfedit log --documents`

    Where one adapter knows several documents, it is no longer asked about this one, but its weights still hold it: `selfedit consolidate` trains a
    new one without it. Older versions keep the document until they are dropped (`library.versions`).
    """

    documents: Positional[Annotated[tuple[str, ...], arg(metavar="DOC ...", help_behavior_hint="")]]
    """Titles or ids of documents in force."""
    where: Place = field(default_factory=Where)

    def run(self, args: Sequence[str]) -> int:
        """All of them or none."""
        library, show = opened(self.where.root), Show()
        gone = named(library, self.documents)
        now = library.forget([one.id for one in gone], "; ".join(one.title for one in gone))
        for one in gone:
            show.fact("forgotten", one.title)
        shared = {d.title for entry in library.entries() for d in entry.documents if entry.id in _entries_of(library, now.number - 1, gone)}
        if shared:
            show.fact("note", "its adapter knows other documents too, so that its weights still hold it: selfedit consolidate")
        show.fact("in force", f"{_counted(now)}, as version {now.number}")
        return 0


@dataclass(frozen=True)
class Consolidate(MakesRuns):
    """Train one adapter on everything that the library holds, from the untrained model. It takes the place of the many unless it answers worse.

    Examples:
      selfedit consolidate
      selfedit consolidate --inner.epochs 4 --inner.lora.rank 16
      selfedit consolidate --resume latest

    Self-edits are kept with their documents, so that nothing is written anew, and no run has to be there. What is learned afterwards joins the
    library beside the new adapter. `selfedit rollback` brings the many back.
    """

    flags = "learn"
    keep: bool = False
    """Put it in force even if a guard was against it."""
    output: Annotated[Output, arg(name="")] = field(default_factory=Output)

    @classmethod
    def begins_with(cls, args: Sequence[str] = ()) -> Recipe | None:
        """The recipe of the last thing that was learned."""
        library = opened(runs.root(*given(args, "runs")[:1]))
        if not library.size():  # `run` says so
            return None
        newest = library.newest()
        return parse_recipe(newest.recipe, source=f"recipe of run {newest.run}")

    def run(self, args: Sequence[str]) -> int:
        """From many adapters to one."""
        from selfedit.loop.consolidate import ROWS

        output = self.output
        settings = {} if output.resume else as_recipe(self.settings).model_dump()
        run = api.consolidate(resume=output.resume, keep=self.keep, folder=output.root, watch=output.show, **settings)
        with run.reader() as reader:
            results, verdicts = reader.results(role="reward"), reader.verdicts()
        show = output.show
        counts = {}
        for row in ROWS:
            answers = [answer for result in results if result.row == row for answer in result.answers if answer.correct is not None]
            counts[row] = {"right": sum(bool(answer.correct) for answer in answers), "of": len(answers)}
            show.fact(row, f"{counts[row]['right']} of {counts[row]['of']} questions that nothing was trained on are answered rightly")
        for verdict in verdicts:
            show.fact("guard", f"{verdict.guard}: {verdict.decision}; {verdict.reason}")
        show.fact("in force", "yes; undo: selfedit rollback" if run.in_force else f"no; nevertheless: selfedit consolidate --resume {run.id} --keep")
        if output.json:
            print(json.dumps({"run": run.id, "in_force": run.in_force, **counts}, ensure_ascii=False))
        return 0


def _held(library: Library, number: int | None) -> dict[str, tuple[Document, str]]:
    return {document.id: (document, entry.id) for entry in library.entries(number) for document in entry.documents}


def _entries_of(library: Library, number: int, documents: Sequence[Document]) -> set[str]:
    wanted = {one.id for one in documents}
    return {entry.id for entry in library.entries(number) for one in entry.documents if one.id in wanted}


def _counted(version: Version) -> str:
    from selfedit.report.words import plural

    return plural(version.documents, "document")
