"""The analysis of self-edits in words, and for programs: `analysis.json` in the run folder."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfedit.disk import write_atomically
from selfedit.ledger import Reader
from selfedit.report.analysis import SHARES, Analysis, Column, Tested, View, review
from selfedit.report.words import DASH, MINUS, percent, plain, plural, signed
from selfedit.types import Artifact, Harvested, Interval, Routed

FILE = "analysis.json"


@dataclass(frozen=True, slots=True)
class Property:
    """How a property is spoken of: self-edits that have more of it, and less. `digits` are of those that are no shares."""

    label: str
    meaning: str
    more: str
    less: str
    digits: int = 1


PROPERTIES = {
    "written": Property("words written", "completions as they came", "longer as written", "shorter as written", 0),
    "words": Property("words", "of the examples, without the passage", "longer", "shorter", 0),
    "facts": Property("facts", "statements and question-answer pairs, near repetitions once", "richer in facts", "poorer in facts", 1),
    "coverage": Property("coverage", "words in fragments shared with the passage", "closer to the passage", "farther from the passage"),
    "density": Property("density", "words in the fragment around a word, on average", "copied in longer pieces", "copied in shorter pieces", 1),
    "copied": Property("copied trigrams", "that stand in the passage", "copied more literally", "copied less literally"),
    "novelty": Property("novelty", "distance from the nearest earlier self-edit of the document", "newer", "more like earlier ones"),
    "distinct": Property("distinct-2", "different bigrams over words", "more varied within", "less varied within", 2),
    "similarity": Property("similarity", "trigrams in common with the others written with it", "more like each other", "less like each other"),
    "dropped": Property("dropped", "pieces that were not used", "dropped in larger part", "dropped in smaller part"),
}


def figure(value: float | None, name: str) -> str:
    """A value of a property in its own unit."""
    return DASH if value is None else percent(value) if name in SHARES else f"{value:,.{PROPERTIES[name].digits}f}"


def change(value: float, name: str) -> str:
    """A difference of two, with its sign; shares in percentage points."""
    return signed(100 * value, 1) if name in SHARES else signed(value, PROPERTIES[name].digits)


def span(interval: Interval, name: str) -> str:
    """The 95 % interval of a value."""
    return "one document" if math.isinf(interval.low) else f"{figure(interval.low, name)} to {figure(interval.high, name)}"


def change_span(interval: Interval, name: str) -> str:
    """The 95 % interval of a difference."""
    return "one document" if math.isinf(interval.low) else f"{change(interval.low, name)} to {change(interval.high, name)}"


def rho(value: float) -> str:
    """A rank correlation."""
    return f"{value:+.2f}".replace("-", MINUS)


def rho_span(interval: Interval) -> str:
    """Its 95 % interval."""
    return "one document" if math.isinf(interval.low) else f"{rho(interval.low)} to {rho(interval.high)}"


def sentences(found: Analysis) -> list[str]:
    """What changed, where there is anything to compare, and what goes with the reward."""
    return [*_of_change(found), _of_reward(found)]


def _of_change(found: Analysis) -> list[str]:
    columns = found.view.columns
    if all(column.empty == 1 for column in columns):
        return ["No self-edit teaches anything but the passage: there is nothing to measure."]
    if not found.changing:
        return []
    first, last = columns[found.view.start], columns[-1]
    whose = "held-out" if found.view is found.held_out else "training"
    began = f"From “{first.label.lower()}” to “{last.label.lower()}”, self-edits about {whose} documents"
    sure = [_changed(name, told, first, last) for name, told in found.view.changes.items() if told.significant]
    if sure:
        return [f"{began} became {', '.join(sure)}."]
    return [f"{began} changed in no property that can be told from chance{_few(last.tasks)}."]


def _changed(name: str, told: Tested, first: Column, last: Column) -> str:
    before, after = (figure(interval.mean if (interval := column.values[name]) else None, name) for column in (first, last))
    return f"{_how(told, name)} ({PROPERTIES[name].label} {before} → {after})"


def _how(told: Tested, name: str) -> str:
    return PROPERTIES[name].more if told.interval.mean > 0 else PROPERTIES[name].less


def _of_reward(found: Analysis) -> str:
    if not found.groups:
        return f"No document has two self-edits with a reward {together(found)}, so nothing can be said of what goes with it."
    if not found.differ:
        return f"No two rewards of a document differ {together(found)}, so nothing can be said of what goes with them."
    sure = sorted(((told, name) for name, told in found.rewards.items() if told.significant), key=lambda pair: -abs(pair[0].interval.mean))
    if not sure:
        most = max((told.interval.n for told in found.rewards.values()), default=0)
        return f"No property of a self-edit goes with its reward so that it can be told from chance ({plural(most, 'group')} of self-edits)."
    said = [f"{_how(told, name)} ({PROPERTIES[name].label} {rho(told.interval.mean)})" for told, name in sure]
    return f"Among the self-edits of a document, higher rewards went to those that are {', '.join(said)}: mean rank correlations with the reward."


def together(found: Analysis) -> str:
    """What one selection chooses from, of a document."""
    return "in one round" if found.rounds else "under one seed"


def _few(tasks: int) -> str:
    return f"; from {plural(tasks, 'document')} nothing can, it takes six" if tasks < 6 else ""


FILTERS = {function.__name__: function for function in (figure, change, span, change_span, rho, rho_span, sentences, together)}

# ---------------------------------------------------------------- for programs


def write_analysis(folder: Path) -> Analysis | None:
    """Write what was found beside the ledger of the run; nothing where it has no self-edits. Raises LedgerError where there is no ledger."""
    with Reader(folder) as reader, reader.snapshot():
        found = review(reader)
    if found:
        write_atomically(folder / FILE, json.dumps(as_analysis(found), ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    return found


def as_analysis(found: Analysis) -> dict[str, Any]:
    """`held_out` and `rounds` column by column with the changes up to the last, `reward`: rank correlations with it, `said` in words.

    Means with 95 % intervals and the number of values; a bound that there is none of is null, and so is what was not measured.
    """
    analysis: dict[str, Any] = plain(
        {
            "said": sentences(found),
            "held_out": _plain_view(found.held_out),
            "rounds": _plain_view(found.rounds),
            "reward": {name: _plain_told(told) for name, told in found.rewards.items()},
            "groups": found.groups,
        }
    )
    return analysis


def _plain_view(view: View | None) -> dict[str, Any] | None:
    if view is None:
        return None
    columns = [
        {
            "name": column.name,
            "self_edits": column.edits,
            "tasks": column.tasks,
            "empty": column.empty,
            "strategies": column.strategies,
            "dropped": column.reasons,
            "properties": {name: interval and asdict(interval) for name, interval in column.values.items()},
        }
        for column in view.columns
    ]
    return {"columns": columns, "changes": {name: _plain_told(told) for name, told in view.changes.items()}}


def _plain_told(told: Tested) -> dict[str, float | None]:
    return {**asdict(told.interval), "p": told.p}


def titles(artifacts: Sequence[Artifact]) -> dict[str, str]:
    """Adapters by the names that verdicts give them, with the documents that they know."""
    return {Path(artifact.path).name: artifact.name for artifact in artifacts}


def routing(routed: Sequence[Routed]) -> dict[str, str]:
    """Who answered what, in words: questions about documents, and everyday prompts; nothing where no gate was asked."""
    about = [one for one in routed if one.about]
    others = [one for one in routed if not one.about]
    found = {}
    if about:
        right, base = sum(one.to == one.about for one in about), sum(not one.to for one in about)
        found["routing"] = (
            f"{right} of {plural(len(about), 'question')} reached the adapter of their document, {base} the untrained model, "
            f"{len(about) - right - base} another adapter"
        )
    if others:
        inside, changed = sum(bool(one.to) for one in others), sum(bool(one.changed) for one in others)
        found["everyday"] = (
            f"{inside} of {len(others)} everyday prompts were taken for questions about a document, {plural(changed, 'answer')} changed by that"
        )
    return found


def harvest(found: Sequence[Harvested]) -> dict[str, str]:
    """What became of the answers to fresh questions, in words; nothing where nothing was harvested."""
    fresh, passed = [one for one in found if not one.known], [one for one in found if one.known and not one.reason]
    if not fresh:
        return {}
    used = sum(one.used for one in fresh)
    why = "".join(f"; of {n} {reason}" for reason, n in Counter(one.reason for one in fresh if one.reason).most_common())
    said = {"harvest": f"{used} of {plural(len(fresh), 'answer')} to fresh questions {'is' if used == 1 else 'are'} learned{why}"}
    if passed:
        right = sum(bool(one.right) for one in passed)
        said["harvest check"] = f"of {plural(len(passed), 'answer')} to reward questions that passed the same test, {right} are right"
    return said
