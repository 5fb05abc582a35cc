"""The comparison for programs: `results.json` in the run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfedit.disk import write_atomically
from selfedit.ledger import Reader
from selfedit.report.comparison import Comparison, compare
from selfedit.report.rows import Row
from selfedit.types import Interval

FILE = "results.json"


def write_results(folder: Path) -> Path:
    """Write the comparison of the run in `folder` beside its ledger. Raises LedgerError where there is none."""
    with Reader(folder) as reader, reader.snapshot():
        found = compare(reader.tasks(), reader.results(), reader.notes())
    write_atomically(folder / FILE, json.dumps(as_results(found), ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    return folder / FILE


def as_results(found: Comparison) -> dict[str, list[dict[str, Any]]]:
    """`rows` and `differences` as shares of right answers with 95 % intervals, with `f1` and (rows) `exact`, and the rows that were left out.

    The last round of a policy is named `after_rl`. `n` counts questions, `tokens` what one adapter was trained on (the mean). Row `chance` is what a
    random sentence of the right passage would score.
    """
    last = found.final if found.final and found.final.startswith("round-") else None

    def named(row: str) -> str:
        return "after_rl" if row == last else row

    differences = [
        {"of": named(d.of.name), "over": named(d.over.name), **_bounds(d.gain.correct), "f1": _bounds(d.gain.f1)} for d in found.differences
    ]
    left_out = [{"name": left.name, "why": left.why} for left in found.left_out]
    return {"rows": [{"name": named(row.name), **_measures(row)} for row in found.rows], "differences": differences, "left_out": left_out}


def _measures(row: Row) -> dict[str, Any]:
    shares = {**_bounds(row.accuracy), "f1": _bounds(row.f1), "exact": _bounds(row.exact)}
    return {**shares, "n": row.accuracy.n, "seeds": row.seeds, "tokens": row.mean_tokens}


def _bounds(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}
