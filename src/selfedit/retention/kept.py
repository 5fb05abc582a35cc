"""What the untrained model said, kept on the disk for the next time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from selfedit.disk import write_atomically

if TYPE_CHECKING:
    from selfedit.policy import Policy


def file_of(policy: Policy, name: str) -> Path | None:
    """Where a model's answers of this name are kept, by its fingerprint. None of the fake engine, and of weights that have changed."""
    if policy.merged or not policy.recipe.open("engine").real:
        return None
    from selfedit.models import resolve
    from selfedit.models.fetch import cache_folder
    from selfedit.system import environment

    return cache_folder() / name / f"{environment.fingerprint(resolve(policy.recipe.model, offline=True))}.json"


def read(file: Path | None) -> dict[str, Any]:
    """What is kept in a file; nothing where there is none."""
    if file is None or not file.is_file():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def write(file: Path, known: Mapping[str, Any]) -> None:
    """Add what is known to the file: whole or not at all, and after another process that does the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        write_atomically(file, json.dumps({**read(file), **known}, ensure_ascii=False))
