"""Numbers in words, the same everywhere in a report. What was not measured is a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from selfedit import parts
from selfedit.directives import write
from selfedit.text import duration
from selfedit.types import Interval

DASH = "–"
MINUS = "−"
NARROW = "\u202f"
"""A space that breaks no line."""


class PartWords:
    """Parts in words: as the run's ledger noted them; for runs of version 0.1.0, which noted none, as they are known today."""

    def __init__(self, notes: Mapping[str, Any]) -> None:
        self.noted = {(part["kind"], part["name"]): part for part in notes.get("parts", ()) if part}

    def of(self, kind: str, name: str) -> Mapping[str, Any]:
        """All that is said of a part; empty where nothing is known."""
        return self.noted.get((kind, name)) or parts.words(kind, name)

    def means(self, kind: str, name: str) -> str:
        """What it means."""
        return str(self.of(kind, name).get("means", ""))

    def label(self, kind: str, name: str) -> str:
        """What it is called."""
        return str(self.of(kind, name).get("label") or name.replace("_", " "))

    def labels(self, kind: str, name: str) -> Mapping[str, str]:
        """Further names, by what they stand for."""
        found: Mapping[str, str] = self.of(kind, name).get("labels", {})
        return found


def percent(share: float | None) -> str:
    """0.123 → `12.3 %`, with a narrow space."""
    return DASH if share is None else f"{100 * share:.1f}{NARROW}%"


def points(share: float) -> str:
    """A difference of shares in percentage points: 0.123 → `+12.3`."""
    return signed(100 * share, 1)


def signed(value: float | None, digits: int = 3) -> str:
    """With its sign: `+0.120`, `−0.120`, and `0.000` for nothing."""
    if value is None:
        return DASH
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def percent_range(interval: Interval) -> str:
    """The 95 % interval of a share: `8.1 to 17.0`."""
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def points_range(interval: Interval) -> str:
    """The 95 % interval of a difference, in percentage points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def signed_range(interval: Interval) -> str:
    """The 95 % interval of a measure in its own unit; a single task has none."""
    if math.isinf(interval.low):
        return "no interval from one task"
    return f"{signed(interval.low)} to {signed(interval.high)}"


def count(number: int) -> str:
    """1234567 → `1,234,567`."""
    return f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 task`, `2 tasks`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def moment(iso: str | None) -> str:
    """`2026-01-31T12:00:00.123+00:00` → `2026-01-31 12:00 UTC`."""
    return DASH if iso is None else f"{iso[:10]} {iso[11:16]} UTC"


def short(text: str, length: int = 60) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def plain(value: Any) -> Any:
    """A record as JSON has it: numbers that it has no word for are null, the bounds of an interval from a single value among them."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


FILTERS = {
    function.__name__: function
    for function in (percent, points, signed, percent_range, points_range, signed_range, count, plural, duration, moment, short)
} | {"setting": write}
