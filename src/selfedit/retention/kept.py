"""What a model said, kept on the disk for the next time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read(file: Path | None) -> dict[str, Any]:
    """What is kept in a file; nothing where there is none."""
    if file is None or not file.is_file():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def write(file: Path, known: Mapping[str, Any]) -> None:
    """The whole file, or the old one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
    draft.replace(file)
