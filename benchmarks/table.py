"""What is promised, line by line, and what was measured: rows, their file, and the table that a person reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

Row = dict[str, Any]
"""`bench, work, against, unit, value, at_least, aim`, and what helps to judge them: `low, high, rate, wall_ratio, note, ...`."""


@dataclass(frozen=True, slots=True)
class Line:
    """A promise. `at_least` and `aim` are at most, where lower is better."""

    bench: str
    work: str
    against: str
    at_least: float | None
    aim: float | None
    unit: Literal["x", "%", "GB", "tok/s", "tok/CPU-s"] = "x"
    better: Literal["higher", "lower"] = "higher"

    def row(self, value: float, **more: Any) -> Row:
        """The promise with what was measured."""
        facts = {"bench": self.bench, "work": self.work, "against": self.against, "unit": self.unit, "better": self.better}
        return facts | {"value": rounded(value), "at_least": self.at_least, "aim": self.aim} | more


TRAINING = "training 8 adapters, sequences of 20 to 300 tokens"
SAMPLING = "sampling, 8 adapters x 10 prompts, 24 new tokens"
EDITS = "sampling 40 self-edits of 200 tokens from 8 prompts"
SCORING = "scoring 8 adapters x 10 answers"
ROUND = "a whole round: 8 tasks x 4 self-edits, write, train 10 epochs, answer, score"
LIMIT = "arithmetic limit: 4N + 6P FLOP a token at the rate of this machine's products"

PADDED = Line("training", TRAINING, "Trainer + PEFT, bf16, padded to 2048", 24, 40)
FP32 = Line("training", TRAINING, "Trainer + PEFT, fp32, no padding", 2.2, 3)
BF16 = Line("training", TRAINING, "Trainer + PEFT, bf16, no padding", 1.45, 1.8)
ARITHMETIC = Line("training", TRAINING, LIMIT, 60, 75, "%")
GENERATE = Line("sampling", SAMPLING, "generate per adapter, bf16", 3.5, 6)
GENERATE_8 = Line("edits", EDITS, "generate, batch 8", 2, 4)
FORWARD = Line("scoring", SCORING, "one forward pass an (adapter, question) with PEFT", 4, 8)
AUTHORS = Line("round", ROUND, "the authors' procedure with the same settings, graded by the local judge", 30, 60)
CAREFUL = Line("round", ROUND, "a careful sequential script: no padding, bf16, base answers cached", 2, 3)
MEMORY = Line("memory", "peak memory, training 16 adapters, r 16 on all linear layers", "-", 6, 4, "GB", "lower")
FLAT = Line("jobs", "cost a job at 10, 100, 1000 jobs: largest deviation from the mean", "-", 10, None, "%", "lower")
FLAT_MEMORY = Line("jobs", "peak memory at 10, 100, 1000 jobs: largest deviation from the mean", "-", 10, None, "%", "lower")

LINES = (PADDED, FP32, BF16, ARITHMETIC, GENERATE, GENERATE_8, FORWARD, AUTHORS, CAREFUL, MEMORY, FLAT, FLAT_MEMORY)


def rounded(x: float) -> float:
    """Three significant digits, or whole where there are more."""
    return float(f"{x:.3g}") if abs(x) < 1000 else round(x)


# ------------------------------------------------------------ the file


def read(file: Path) -> tuple[dict[str, Any], list[Row]]:
    """Machine and rows; nothing where there is no file yet."""
    if not file.exists():
        return {}, []
    found = json.loads(file.read_text(encoding="utf-8"))
    return found["machine"], found["rows"]


def merge(file: Path, machine: dict[str, Any], rows: Iterable[Row]) -> list[Row]:
    """Put rows into a file, in the place of older ones of the same benchmarks. Returns all, in the order of the promises."""
    new = list(rows)
    measured = {r["bench"] for r in new}
    order = list(dict.fromkeys(line.bench for line in LINES))
    kept = [r for r in read(file)[1] if r["bench"] not in measured] + new
    kept.sort(key=lambda r: order.index(r["bench"]) if r["bench"] in order else len(order))
    draft = file.with_name(file.name + ".part")
    draft.write_text(json.dumps({"machine": machine, "rows": kept}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.rename(file)
    return kept


# ------------------------------------------------------------ for a person


def shown(row: Row, key: str) -> str:
    """A figure with its unit; a dash where there is none."""
    value = row.get(key)
    if value is None:
        return "–"
    return f"{value:g}" + {"x": "x", "%": " %"}.get(row["unit"], f" {row['unit']}")


def spread(row: Row) -> str:
    """From the lowest to the highest ratio of the repetitions."""
    return f"{row['low']:g} to {row['high']:g}" if "low" in row else "–"


def reached(row: Row) -> str:
    """Which of its two marks a row has come to."""
    if row["at_least"] is None:
        return ""
    sign = 1 if row["better"] == "higher" else -1
    if row["aim"] is not None and sign * row["value"] >= sign * row["aim"]:
        return "aim"
    return "yes" if sign * row["value"] >= sign * row["at_least"] else "no"


def table(rows: Sequence[Row]) -> Table:
    """Everything measured, ratios last."""
    made = Table("work", "against", "selfedit", "it", "whole machine, wall", "at least", "aim", "spread", "ratio", "reached")
    work = ""
    for row in rows:
        rates = [f"{row[key]:g} {row.get('rate_unit', '')}" if key in row else "" for key in ("rate", "against_rate")]
        wall = f"{row['wall_ratio']:g}x" if "wall_ratio" in row else ""
        marks = (shown(row, "at_least"), shown(row, "aim"), spread(row), f"[bold]{shown(row, 'value')}[/bold]", reached(row))
        made.add_row(row["work"] if row["work"] != work else "the same", row["against"], *rates, wall, *marks, end_section=False)
        work = row["work"]
    return made
