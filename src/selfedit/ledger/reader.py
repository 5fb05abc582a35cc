"""The ledger as reports, servers and the command line read it: never written, also while a run is active."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from selfedit.errors import LedgerError
from selfedit.ledger import database, lock, records
from selfedit.ledger.older import upgraded
from selfedit.types import Artifact, Candidate, Cost, Harvested, Proposal, Rating, Result, Routed, Selected, Task, Update, Variant, Verdict

R = TypeVar("R")
_COSTS = tuple(field.name for field in fields(Cost))
"""The columns of a step that make up its cost."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a run is: times are ISO 8601 in UTC. `status` is running, finished, failed or interrupted."""

    run_id: str
    command: str
    recipe: dict[str, Any]
    environment: dict[str, str]
    version: str
    status: str
    created_at: str
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step: how many records of which type, and what they cost."""

    position: int
    name: str
    kind: str
    records: int
    finished_at: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line about a run. `before` and `after` (the final row) are the shares of report questions answered correctly, None where not measured.

    A run that cannot be read has the status `damaged` and the reason in `problem`.
    """

    id: str
    status: str
    command: str = ""
    created_at: str = ""
    model: str = ""
    before: float | None = None
    after: float | None = None
    problem: str = ""


class Reader:
    """A run's ledger, read-only. Use it as a context manager. Raises LedgerError where there is none or it is damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with database.explained(folder):
            self._db = database.open_readonly(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Safe to call twice."""
        self._db.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read within is of one moment, whatever a writer adds meanwhile."""
        with database.explained(self.folder):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def info(self) -> RunInfo:
        """What the run is. One that says `running` without a living process is `interrupted`."""
        columns = "run_id, command, recipe, environment, version, status, created_at, finished_at"
        [(run_id, command, recipe, environment, version, status, created_at, finished_at)] = self._select(f"SELECT {columns} FROM run")
        if status == "running" and not lock.is_held(self.folder):
            status = "interrupted"
        return RunInfo(run_id, command, upgraded(json.loads(recipe)), json.loads(environment), version, status, created_at, finished_at)

    def notes(self) -> dict[str, Any]:
        """The metadata written with `Ledger.note`."""
        return {key: json.loads(value) for key, value in self._select("SELECT key, value FROM notes ORDER BY key")}

    def steps(self) -> list[Step]:
        """The finished steps, in order."""
        described = "position, name, kind, records, finished_at"
        rows = self._select(f"SELECT {described}, {', '.join(_COSTS)} FROM steps ORDER BY position")
        return [Step(position, name, kind, records, at, Cost(*cost)) for position, name, kind, records, at, *cost in rows]

    def cost(self) -> Cost:
        """Of all finished steps together."""
        sums = ", ".join(f"coalesce(sum({column}), 0)" for column in _COSTS)
        return Cost(*self._select(f"SELECT {sums} FROM steps")[0])

    def step(self, name: str, kind: type[R]) -> list[R]:
        """The records of one finished step. Raises LedgerError where there is no such step of this kind."""
        found = self._select("SELECT position FROM steps WHERE name = ? AND kind = ?", name, kind.__name__)
        if not found:
            raise LedgerError(f"run {self.folder.name} has no finished step {name!r} with records of type {kind.__name__}")
        return self._read(kind, found[0][0])

    def tasks(self) -> list[Task]:
        """The tasks, in the order they were recorded."""
        return self._read(Task)

    def proposals(self, round: int | None = None) -> list[Proposal]:
        """The self-edits as written, of one round or of all."""
        return self._read(Proposal, None, round)

    def candidates(self, round: int | None = None) -> list[Candidate]:
        """The self-edits as trained and scored, of one round or of all."""
        return self._read(Candidate, None, round)

    def ratings(self, round: int | None = None) -> list[Rating]:
        """What prefilters said of self-edits, of one round or of all."""
        return self._read(Rating, None, round)

    def selected(self, round: int | None = None) -> list[Selected]:
        """The selection, of one round or of all."""
        return self._read(Selected, None, round)

    def variants(self) -> list[Variant]:
        """The strategies of an archive search, in the order they were found."""
        return self._read(Variant)

    def updates(self) -> list[Update]:
        """What was done to the policy, round by round."""
        return self._read(Update)

    def results(self, row: str | None = None, role: Literal["report", "reward"] = "report") -> list[Result]:
        """Answers to report questions, of one row or of all; or the base's to reward questions, which are no result to be shown."""
        return [result for result in self._read(Result) if result.role == role and row in (None, result.row)]

    def rows(self) -> list[str]:
        """The rows that have results, in the order they were first recorded."""
        query = "SELECT json_extract(body, '$.row') FROM records WHERE kind = 'Result' AND json_extract(body, '$.role') = 'report'"
        return list(dict.fromkeys(row for (row,) in self._select(f"{query} ORDER BY step, position")))

    def verdicts(self) -> list[Verdict]:
        """What the guards said about the run as a whole; what they said about a candidate comes with it."""
        return self._read(Verdict)

    def routed(self) -> list[Routed]:
        """Who was asked which question, in runs of `learn`."""
        return self._read(Routed)

    def harvested(self) -> list[Harvested]:
        """What adapters answered to fresh questions, in runs of `learn` that harvest."""
        return self._read(Harvested)

    def artifacts(self) -> list[Artifact]:
        """The files the run left in its folder."""
        return self._read(Artifact)

    def content_hash(self) -> str:
        """SHA-256 of what was done and found, without clocks and places: equal for two runs of one recipe on one machine."""
        with database.explained(self.folder):
            return database.content_hash(self._db)

    def accuracy(self, row: str) -> float | None:
        """Share of a row's answers to report questions that are correct, None without any."""
        query = """
            SELECT avg(json_extract(answer.value, '$.correct')) FROM records, json_each(body, '$.answers') AS answer
            WHERE records.kind = 'Result' AND json_extract(body, '$.row') = ? AND json_extract(body, '$.role') = 'report'
        """
        share: float | None = self._select(query, row)[0][0]
        return share

    def _select(self, query: str, *values: Any) -> list[Any]:
        with database.explained(self.folder):
            return self._db.execute(query, values).fetchall()

    def _read(self, kind: type[R], step: int | None = None, round: int | None = None) -> list[R]:
        with database.explained(self.folder):
            return records.read(self._db, kind, step, round)


def final_row(rows: Sequence[str]) -> str | None:
    """The row that a run is about: `after`, edit vectors by context, self-edits with a vector added, the best strategy of a search, the last round of
    a policy, its cold start, or untrained self-edits.

    `rows` are in the order of their recording.
    """
    rounds = [row for row in rows if row.startswith("round-")]
    return next(
        (row for row in ("after", "contextual_edit", "data_and_vector", "best_strategy", *rounds[-1:], "cold_start", "untrained") if row in rows),
        None,
    )


def runs(root: Path) -> list[RunSummary]:
    """Every run below `root`, the newest first; damaged ones last."""
    folders = sorted(path.parent for path in root.glob(f"*/{database.FILE}"))
    return sorted((_summary(folder) for folder in folders), key=lambda run: run.created_at, reverse=True)


def _summary(folder: Path) -> RunSummary:
    try:
        with Reader(folder) as reader:
            info = reader.info()
            final = final_row(reader.rows())
            before, after = reader.accuracy("base"), reader.accuracy(final) if final else None
    except (LedgerError, sqlite3.Error) as error:
        return RunSummary(folder.name, "damaged", problem=str(error))
    return RunSummary(folder.name, info.status, info.command, info.created_at, str(info.recipe.get("model", "")), before, after)
