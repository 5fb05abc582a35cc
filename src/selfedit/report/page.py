"""Reads a run's ledger and writes the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from selfedit.grouping import grouped
from selfedit.ledger import Reader, RunInfo, Step
from selfedit.report import analysis, figures, findings, frame, grids, reliability, vectors
from selfedit.report.analysis import Analysis
from selfedit.report.comparison import Comparison, compare, unedited
from selfedit.report.edits import Edits, review
from selfedit.report.reliability import Trust
from selfedit.report.words import PartWords
from selfedit.types import Candidate, Cost, Task

FILE = "report.html"

_PARTS = {
    "tasks": "Preparing questions",
    "held-out": "Preparing held-out questions",
    "base": "Asking before learning",
    "replay": "Answering everyday prompts",
    "baselines": "Training what the result is compared with",
    "adapters": "Training the final adapters",
    "routes": "Calibrating the gate",
    "compare": "Asking what was learned",
    "adapter": "Sealing the adapter",
    "guards": "Guards",
    "cold-start": "Showing the policy good self-edits",
    "trials": "Trying rewards and prefilters",
    "evaluate": "Measuring on held-out documents",
}
"""Parts of a run in words, by the first part of the names of their steps."""


_METRICS = [
    ("kl", "Divergence, nats a token"),
    ("kl_coefficient", "Its weight"),
    ("clip_fraction", "Share clipped"),
    ("margin", "Margin of pairs"),
    ("accuracy", "Pairs in order"),
]
"""Metrics of an update, and what they are called."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of a run cost: the steps whose names begin alike."""

    name: str
    steps: int
    cost: Cost


def write(folder: Path, out: Path | None = None) -> Path:
    """Write the report of the run in `folder` to `out` (default: `report.html` beside the ledger) and return where it is.

    The run may be unfinished or running. Raises LedgerError where there is no ledger, it is damaged or `out` cannot be written.
    """
    return frame.save(render(folder), out or folder / FILE)


def render(folder: Path) -> str:
    """The page of the run in `folder`."""
    with Reader(folder) as reader, reader.snapshot():
        info, steps, tasks, results = reader.info(), reader.steps(), reader.tasks(), reader.results()
        comparison = compare(tasks, results, reader.notes())
        learned = reader.step("tasks", Task) if any(step.name == "tasks" for step in steps) else tasks
        ids = {task.id for task in learned}  # candidates of held-out documents are there to be measured, and belong to no round
        candidates = [candidate for candidate in reader.candidates() if candidate.proposal.task_id in ids]
        texts = [candidate for candidate in candidates if not candidate.proposal.edit.vector]
        candidates = texts or candidates  # vectors that are added to the adapters of texts have a section of their own
        words = PartWords(reader.notes())
        edits = review(learned, candidates, reader.selected(), reader.verdicts(), words, findings.titles(reader.artifacts()))
        trust, found = reliability.review(reader), analysis.review(reader)
        edited = vectors.review(reader, {row.name: row.label for row in comparison.rows})
        values: dict[str, Any] = {
            "trust": trust,
            "analysis": found,
            "properties": findings.PROPERTIES,
            "target": reliability.TARGET,
            "info": info,
            "tasks": tasks,
            "comparison": comparison,
            "edits": edits,
            "in_view": _in_view(tasks, edited is not None and not texts),
            "unedited": unedited(learned, reader.selected()) if info.command in ("learn", "demo") else "",
            "told": [*findings.routing(reader.routed()).values(), *findings.harvest(reader.harvested()).values()],
            "harvested": reader.harvested(),
            "picking": _picking(found.search if found else "", candidates),
            "updates": [update for update in reader.updates() if not update.learner],
            "vectors": edited,
            "variants": reader.variants(),
            "update_metrics": _METRICS,
            "missing": _missing(info, steps, comparison, edits),
            "parts": _parts(steps),
            "steps": steps,
            "cost": reader.cost(),
            "artifacts": reader.artifacts(),
            "notes": {key: _text(value) for key, value in reader.notes().items() if not isinstance(value, list)},  # lists are of digests
            "settings": list(_flat(info.recipe)),
            "content_hash": reader.content_hash(),
        }
    drawn_grids = grids.drawn if grids.of_grids(tasks) else lambda text: Markup()
    filters = {"grids": drawn_grids, "verdict": reliability.verdict, "sentence": reliability.sentence, **findings.FILTERS}
    return frame.page("report.html.j2", values, figures=_figures(comparison, edits, trust, found), filters=filters)


def _in_view(tasks: Sequence[Task], vectors: bool) -> str:
    """What is shown with the report questions, in words."""
    if vectors:
        return " with the passage in view"
    return ", each beside the solved pairs of its puzzle" if grids.of_grids(tasks) else ", without the document in view"


def _figures(comparison: Comparison, edits: Edits, trust: Trust | None, found: Analysis | None) -> dict[str, figures.Figure]:
    drawn: dict[str, figures.Figure] = {}
    if comparison.rows:
        drawn["rows"] = figures.rows(comparison.rows, comparison.final)
    if comparison.gains:
        drawn["gains"] = figures.gains(comparison.gains)
    if any(document.before is not None and document.after is not None for document in comparison.documents):
        drawn["documents"] = figures.documents(comparison.documents)
    if any(one.mean for one in edits.rounds):
        drawn["rewards"] = figures.rewards(edits)
    if sum(one.mean is not None for one in edits.rounds) > 1:
        drawn["rounds"] = figures.rounds(edits.rounds)
    if trust and any(reward.curve for reward in trust.rewards):
        drawn["reliability"] = figures.reliability(trust.rewards, reliability.TARGET)
    if trust and any(prefilter.alone is not None and prefilter.found.survivors for prefilter in trust.prefilters):
        drawn["prefilters"] = figures.prefilters(trust.prefilters)
    if found:
        drawn |= figures.properties(found)
    if found and found.rewards:
        drawn["with-reward"] = figures.with_reward(found.rewards)
    return drawn


def _missing(info: RunInfo, steps: Sequence[Step], comparison: Comparison, edits: Edits) -> list[str]:
    """What this page cannot say yet, in words."""
    ended = {"running": "The run is still going on", "interrupted": "The run was interrupted", "failed": "The run failed"}
    if info.status not in ended:
        return []
    shown = f"this page shows what was recorded, up to step “{steps[-1].name}”" if steps else "no step was finished"
    lacking = [f"{ended[info.status]}; {shown}."]
    rows = {row.name for row in comparison.rows}
    checks = [
        (not edits.by_task, "No self-edit has been trained and scored yet."),
        ("base" not in rows, "The model has not been measured before learning yet."),
        (comparison.final is None, "The model has not been measured after learning yet."),
        (not edits.counts, "No guard has given a verdict yet."),
    ]
    return lacking + [sentence for lacks, sentence in checks if lacks]


def _parts(steps: Sequence[Step]) -> list[Part]:
    """Steps whose names begin alike, up to the first `/`, together."""
    together = grouped((step.name.split("/")[0], step.cost) for step in steps)
    return [Part(_part(name), len(costs), sum(costs, Cost())) for name, costs in together.items()]


def _picking(search: str, candidates: Sequence[Candidate]) -> str:
    """Who picked the strategies of the self-edits, where they were not taken in turn."""
    if search == "bandit":
        return "drawn by the bandit"
    return "picked by the policy" if all(candidate.proposal.edit.pick for candidate in candidates) else ""


def _part(name: str) -> str:
    """Steps count rounds from 0, readers from 1."""
    number = name.removeprefix("round-")
    return f"Round {int(number) + 1}" if number != name and number.isdecimal() else _PARTS.get(name, name)


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A recipe as dotted keys and values."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
