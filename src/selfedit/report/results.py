"""The comparison for programs: `results.json` in the run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfedit.ledger import Reader
from selfedit.ledger.database import write_atomically
from selfedit.report.comparison import Comparison, compare
from selfedit.types import Interval

FILE = "results.json"


def write_results(folder: Path) -> Path:
    """Write the comparison of the run in `folder` beside its ledger. Raises LedgerError where there is none."""
    with Reader(folder) as reader, reader.snapshot():
        found = compare(reader.tasks(), reader.results(), reader.notes())
    write_atomically(folder / FILE, json.dumps(as_results(found), ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    return folder / FILE


def as_results(found: Comparison) -> dict[str, list[dict[str, Any]]]:
    """`rows` and `differences` as shares of right answers with 95 % intervals, and the rows that were left out with the reason.

    The last round of a policy is named `after_rl`. `n` counts questions, `tokens` what one adapter was trained on (the mean).
    """
    last = found.final if found.final and found.final.startswith("round-") else None

    def named(row: str) -> str:
        return "after_rl" if row == last else row

    rows = [{"name": named(a.name), **_bounds(a.accuracy), "n": a.accuracy.n, "seeds": a.seeds, "tokens": a.mean_tokens} for a in found.rows]
    differences = [{"of": named(d.of.name), "over": named(d.over.name), **_bounds(d.interval)} for d in found.differences]
    return {"rows": rows, "differences": differences, "left_out": [{"name": left.name, "why": left.why} for left in found.left_out]}


def _bounds(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}
