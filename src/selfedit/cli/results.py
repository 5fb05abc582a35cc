"""How a run ends: its table, its verdicts, its cost, and the same as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfedit.grouping import grouped
from selfedit.ledger import Reader
from selfedit.report import write, write_analysis, write_results
from selfedit.report.comparison import Comparison, compare
from selfedit.report.findings import sentences, titles
from selfedit.system.console import Show, comparison
from selfedit.text import duration
from selfedit.types import Cost, Verdict


def compared(folder: Path) -> Comparison:
    """The rows of a run."""
    with Reader(folder) as reader:
        return compare(reader.tasks(), reader.results(), reader.notes())


def print_results(show: Show, folder: Path) -> Path:
    """Everything that is said at the end of any run; writes the report, which is returned, `results.json` and `analysis.json`."""
    with show.stage("Writing the report"):
        write_results(folder)
        analysis = write_analysis(folder)
        report = write(folder)
        found = compared(folder)
    with Reader(folder) as reader:
        verdicts, cost, notes = reader.verdicts(), reader.cost(), reader.notes()
        names = titles(reader.artifacts())
    comparison(show, found)
    if analysis and analysis.changing:
        show.line()
        for sentence in sentences(analysis):
            show.line(sentence)
    show.line()
    show.fact("judge", notes.get("judge", "unknown"))
    for line in judged(verdicts, names):
        show.fact("guard", line)
    show.fact("cost", in_words(cost))
    return report


def judged(verdicts: Sequence[Verdict], names: Mapping[str, str]) -> list[str]:
    """Verdicts in words: those that accept several adapters together, every other alone, with the adapter's document."""
    alone = [one for one in verdicts if one.decision != "accept" or not one.about]
    lines = [f"{one.guard}: {names.get(one.about, one.about)}: {one.decision}; {one.reason}" if one.about else _line(one) for one in alone]
    for name, some in grouped((one.guard, one) for one in verdicts if one not in alone).items():
        lines.append(_line(some[0]) if len(some) == 1 else f"{name}: accept, all of {len(some)} adapters; the first: {some[0].reason}")
    return lines


def _line(verdict: Verdict) -> str:
    return f"{verdict.guard}: {verdict.decision}; {verdict.reason}"


def in_words(cost: Cost) -> str:
    """A cost in one line."""
    tokens = f"{cost.train_tokens:,} tokens trained on, {cost.sample_tokens:,} written"
    return f"{duration(cost.wall_s)} of wall clock, {duration(cost.cpu_s)} of CPU; {tokens}"


def as_json(folder: Path, **more: Any) -> str:
    """The result of a run in one line: every row by its name (`base` is `before`), with mean, low, high and n; the same of `f1` and `exact`."""
    named = {"before" if row.name == "base" else row.name: row for row in compared(folder).rows}
    rows = {name: asdict(row.accuracy) for name, row in named.items()}
    strict = {measure: {name: asdict(getattr(row, measure)) for name, row in named.items()} for measure in ("f1", "exact")}
    with Reader(folder) as reader:
        verdicts, cost, content = [asdict(verdict) for verdict in reader.verdicts()], asdict(reader.cost()), reader.content_hash()
        judge = reader.notes().get("judge")
    found = {
        "run": folder.name,
        "folder": str(folder),
        **more,
        **rows,
        **strict,
        "judge": judge,
        "guards": verdicts,
        "cost": cost,
        "content_hash": content,
    }
    return json.dumps(found, ensure_ascii=False, allow_nan=False)
