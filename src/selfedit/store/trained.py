"""What a run of `train` came to, for a run of `eval` that measures it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfedit.errors import DataError
from selfedit.ledger import Ledger, Reader
from selfedit.store.artifacts import rounds_of
from selfedit.store.identity import names
from selfedit.types import Task, Variant


@dataclass(frozen=True)
class TrainedPolicy:
    """The adapters of a policy, to be merged in order, and the strategy that a search found. `learned` are digests of what it learned from."""

    adapters: Sequence[Path] = ()
    strategy: Variant | None = None
    learned: Collection[str] = ()


def trained_policy(ledger: Ledger, policy: Path | None) -> TrainedPolicy:
    """What a run of `eval` measures beside the untrained model, if anything; noted at its beginning, and found again. Nothing once it is finished.

    Raises DataError for a run that came to nothing.
    """
    with Reader(ledger.folder) as reader:
        noted, status = reader.notes().get("policy folder"), reader.info().status
    folder = Path(noted["folder"]) if noted else policy
    if folder is None or status == "finished":
        return TrainedPolicy()
    with Reader(folder) as reader:
        notes, taught = reader.notes(), [step.name for step in reader.steps() if step.name == "tasks"]
        tasks = [task for name in taught for task in reader.step(name, Task)]
        known = {name for task in tasks for name in names(task.context)} | set(notes.get("shown", ()))
        sealed = {folder / artifact.path: artifact.sha256 for artifact in reader.artifacts()}
    found = notes.get("found")
    trained = TrainedPolicy(rounds_of(folder), Variant(**found) if found else None, known)
    if not trained.adapters and not trained.strategy:
        raise DataError(
            f"run {folder.name} has trained no policy and found no strategy; `selfedit runs` shows which command made a run, and whether it finished"
        )
    ledger.note("policy folder", {"run": folder.name, "folder": str(folder.resolve())}, kind="places")
    ledger.note("policy", {"adapters": [sealed[path] for path in trained.adapters], "strategy": found})
    return trained
