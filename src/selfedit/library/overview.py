"""What a library holds, gathered for its page: from the library itself, and from the ledgers of the runs that documents were learned in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from selfedit.errors import LedgerError
from selfedit.ledger import Reader
from selfedit.library.answering import gate_of
from selfedit.library.database import Library
from selfedit.library.records import Document, Entry, Membership, Version
from selfedit.report.comparison import by_row, shares
from selfedit.report.library import Calibration, Change, Known, Measured, Overview
from selfedit.retention import calibration
from selfedit.types import Task


def overview(library: Library) -> Overview:
    """Everything about the version in force, the newest document first. Runs that were deleted, or cannot be read, are named."""
    entries, versions, members = library.entries(), library.history(), library.memberships()
    measured: dict[tuple[str, str], Measured] = {}
    unread = []
    for run in dict.fromkeys(entry.run for entry in entries):
        try:
            measured.update({(run, document): one for document, one in _measured(library.root / run).items()})
        except LedgerError:
            unread.append(run)
    consolidations = {version.note for version in versions if version.action == "consolidate"}
    came: dict[tuple[str, str], Membership] = {}
    for one in members:
        came.setdefault((one.entry, one.document), one)
    known = [
        _known(entry, document, came[entry.id, document.id], entry.run in consolidations, measured.get((entry.run, document.id)))
        for entry in entries
        for document in entry.documents
    ]
    known.sort(key=lambda one: -one.version)
    models = Counter(str(entry.recipe.get("model", "")) for entry in entries)
    model = models.most_common(1)[0][0] if models else ""
    return Overview(library.folder, model, known, _changes(versions, members), _calibration(library, versions), unread)


def _known(entry: Entry, document: Document, member: Membership, consolidated: bool, measured: Measured | None) -> Known:
    return Known(
        id=document.id,
        title=document.title,
        context=document.context,
        examples=tuple(one for one in document.examples if one.text != document.context),
        adapter=entry.id,
        shared=len(entry.documents),
        consolidated=consolidated,
        run=entry.run,
        version=member.since,
        at=member.at,
        size=_size(entry.folder),
        measured=measured,
    )


def _size(folder: Path) -> int | None:
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else None


def _measured(run: Path) -> dict[str, Measured]:
    """What a run says of its documents, by their ids; its time is shared out evenly. Raises LedgerError where it has no ledger that can be read."""
    with Reader(run) as reader:
        tasks, results, cost = reader.step("tasks", Task), reader.results(), reader.cost()
        trained = sum(step.cost.train_tokens for step in reader.steps() if step.name == "adapters")
    rows, tokens = by_row(results), {one.task_id: one.tokens for one in results if one.row == "after"}
    found = {}
    for task in tasks:
        before, after = (shares(rows[row][task.id]) if task.id in rows.get(row, {}) else (None, None) for row in ("base", "after"))
        n = len(rows["after"][task.id][0]) if after[0] is not None else 0
        measured = Measured(tokens.get(task.id, trained), cost.wall_s / len(tasks), n, before[0], *after)
        found[Document(task.title, task.context).id] = measured
    return found


def _changes(versions: Sequence[Version], members: Iterable[Membership]) -> list[Change]:
    """What each version changed. Of the oldest that is kept, what it took out is not known any more."""
    came: dict[int, dict[str, str]] = {}
    went: dict[int, dict[str, str]] = {}
    for one in members:
        came.setdefault(one.since, {})[one.document] = one.title
        if one.until is not None:
            went.setdefault(one.until, {})[one.document] = one.title
    found: list[Change] = []
    first: dict[str, int] = {}
    for version in versions:
        new, old = came.get(version.number, {}), went.get(version.number, {})
        same = first.setdefault(version.digest, version.number)
        added = tuple(new[one] for one in new if one not in old)
        removed = tuple(old[one] for one in old if one not in new)
        anew = tuple(new[one] for one in new if one in old)
        what = (version.number, version.digest, version.at, version.action, version.note, version.documents)
        found.append(Change(*what, added, removed, anew, same if same != version.number else None))
    return found


def _calibration(library: Library, versions: Sequence[Version]) -> Calibration:
    """The gate as it is, and the version that it was calibrated for: the first in a row with the same."""
    gate, number = gate_of(library), 0
    for version in reversed(versions):
        if version.gate != versions[-1].gate:
            break
        number = version.number
    return Calibration(1 / (1 + math.exp(-gate.threshold)), len(calibration()), gate.let_in, gate.kept, number)
