"""What is put in force: the adapters of a run that no guard was against join the library below the folder where runs live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from selfedit.errors import DataError
from selfedit.ledger import Heads, Reader
from selfedit.library.adapters import Adapters
from selfedit.library.answering import calibrate, gate_of
from selfedit.library.database import Library
from selfedit.library.records import Action, Document, Entry, Version
from selfedit.policy import Policy
from selfedit.store.artifacts import adapter_of, digest_of
from selfedit.store.identity import anywhere, model_of, recipe_of


def of_run(run: Path) -> list[Entry]:
    """The adapters that a run of `learn` made. A run of version 0.1.0 made one, for all its documents. Raises DataError for a run without any."""
    library = Library(run)
    if library.exists():
        for name in library.names():
            library.check(name)
        return library.entries()
    adapter = adapter_of(run)
    with Reader(run) as reader:
        recipe, tasks = recipe_of(reader), reader.tasks()
        chosen = {(one.task_id, one.index) for one in reader.selected()}
        examples = {p.task_id: p.edit.examples for p in reader.proposals() if (p.task_id, p.index) in chosen}
        passage = recipe.open("domain").passage
    documents = tuple(Document.of(task, examples.get(task.id) or (passage(task),)) for task in tasks)
    return [Entry(digest_of(adapter), adapter, documents, model_of(run, recipe), anywhere(recipe), run.name)]


def put_in_force(root: Path, run: Path, force: bool, policy: Policy | None = None, action: Action = "learn") -> Version | None:
    """Add a run's adapters to the library, once; not those that a guard was against, unless forced. Returns the new version, if there is one.

    `consolidate` takes the place of all that was learned. With the `policy` that is open the gate is calibrated for all that is in force then;
    otherwise the stricter of the two gates stands.
    """
    library, entries = opened(root), of_run(run)
    with Reader(run) as reader:
        refused = {verdict.about for verdict in reader.verdicts() if verdict.against}
        keep = reader.info().recipe.get("library", {}).get("versions", 0)
    known = any(version.action == action and version.note == run.name for version in library.history())
    known = known or any(change.head is not None and change.head.run_id == run.name for change in Heads(root).history())
    wanted = entries if force else [] if known or "" in refused else [one for one in entries if one.id not in refused]
    if not wanted or library.has(wanted):
        return None
    gates = [gate_of(Library(run)), gate_of(library)]  # of two with the same threshold, the run's says what it lets in
    gate = max(gates, key=lambda one: one.threshold)
    version = library.add(wanted, note=run.name, action=action, gate=asdict(gate), keep=keep)
    if policy is not None and version.documents > sum(len(one.documents) for one in wanted):
        with Adapters(policy.engine, library) as adapters:
            calibrate(adapters)
    return library.version(version.number)


def in_force(root: Path) -> Library:
    """The library, where something is in force. Raises DataError where nothing is."""
    library = opened(root)
    if not library.size():
        raise DataError(f"nothing is learned yet, or it was rolled back (in {root}): begin with `selfedit learn DOCS`, or name a run with --run")
    return library


def opened(root: Path) -> Library:
    """The library below `root`. What version 0.1.0 had in force there is its first version."""
    library = Library(root)
    if not library.exists() and (head := Heads(root).current()):
        run = root / head.adapter
        if run.is_dir():
            library.add(of_run(run.parent), note=head.run_id)
    return library


def named(library: Library, names: Sequence[str]) -> list[Document]:
    """The documents in force that these names mean: a title or a part of one, or the beginning of an id.

    Raises DataError where one means none, or several.
    """
    documents = library.documents()
    found = []
    for name in names:
        wanted = name.casefold().strip()
        fitting = [one for one in documents if one.title.casefold() == wanted or (len(wanted) >= 4 and one.id.startswith(wanted))]
        fitting = fitting or [one for one in documents if wanted and wanted in one.title.casefold()]
        if len({one.id for one in fitting}) != 1:
            what = "no document" if not fitting else f"{len(fitting)} documents"
            some = fitting or documents
            titles = "; ".join(f"{one.id[:8]} {one.title}" for one in some[:5]) + ("; ..." if len(some) > 5 else "")
            raise DataError(f"{what} in force called {name!r}; {'there are' if not fitting else 'say which by its id'}: {titles or 'none'}")
        found.append(fitting[0])
    return found
