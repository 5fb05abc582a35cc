"""What versions before this one wrote, in the words of today: the tables of their ledgers (older.sql) and the keys of their recipes."""

from __future__ import annotations

import copy
import json
import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfedit.config.reading import RENAMED

SCHEMAS = (2,)
"""Schemas that can be read, and no longer written."""


def present(db: sqlite3.Connection) -> None:
    """Lay the tables of today, as temporary views, over those of an older ledger. Nothing is written to the file."""
    db.create_function("json_number", 1, _json_number, deterministic=True)
    db.executescript(Path(__file__).with_name("older.sql").read_text(encoding="utf-8"))


def upgraded(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with the keys of today. One that has them already comes back equal."""
    found = copy.deepcopy(dict(recipe))
    for old, new in RENAMED.items():
        (*path, before), after = old.split("."), new.rpartition(".")[2]
        table: Any = found
        for key in path:
            table = table.get(key, {})
        if before in table:
            table[after] = table.pop(before)
    if isinstance(guards := found.get("guards"), Mapping):  # a section in version 0.1.0, a list of names since
        found["guards"] = ["training", "forgetting", "collapse"]
        found["guard"] = {"forgetting": {"max_nats": guards["max_forgetting"]}} if "max_forgetting" in guards else {}
    return found


def _json_number(value: float | None) -> str:
    """SQLite writes no more than 15 digits of a float."""
    return json.dumps(value if value is None or math.isfinite(value) else str(value))
