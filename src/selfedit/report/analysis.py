"""What changed in the self-edits while the policy was trained, and which of their properties go with the reward, from the ledger of any run.

Two views: the documents that the policy learns from, round by round with all K self-edits of each, and held-out ones, of which each policy writes one
under each seed. A document counts once: the mean over its self-edits is its value, and intervals are over documents.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from selfedit.grouping import grouped
from selfedit.ledger import Reader
from selfedit.report.rows import PICKS
from selfedit.report.words import plural
from selfedit.study import statistics as stats
from selfedit.study.properties import PROPERTIES, Scored, Text, Values, differ, group, read, reason, shares, taught, with_reward
from selfedit.types import Candidate, Example, Interval, Proposal, Result, Task

SURE = 0.05
"""A mean with a smaller p-value is told from zero."""
SHARES = frozenset({"coverage", "copied", "novelty", "similarity", "dropped"})
"""Properties that lie between 0 and 1 and are shown in percent."""
SEARCHES = {"archive": ("Strategy {}", "of the archive"), "bandit": ("Round {}", "by strategies that the bandit drew")}
"""Algorithms that leave the weights alone: what one of their rounds is called, and how its self-edits came to be written."""


@dataclass(frozen=True, slots=True)
class Column:
    """Self-edits of one policy or round. `tick` stands at an axis; `empty` is the share of self-edits that teach nothing but the passage;
    `reasons` are shares of all pieces that were written."""

    name: str
    label: str
    written: str
    tick: str
    edits: int
    tasks: int
    empty: float
    values: dict[str, Interval | None]
    strategies: dict[str, float]
    reasons: dict[str, float]


@dataclass(frozen=True, slots=True)
class Tested:
    """A mean over `tasks` documents with its 95 % interval, and how likely the greatest of all properties is as far from zero by luck."""

    interval: Interval
    p: float
    tasks: int

    @property
    def significant(self) -> bool:
        """Whether it is told from zero."""
        return self.p < SURE and (self.interval.low > 0 or self.interval.high < 0)


@dataclass(frozen=True, slots=True)
class View:
    """Columns in the order they were written; `changes` are the last one's over that of number `start`, document by document."""

    columns: list[Column]
    changes: dict[str, Tested]
    start: int = 0

    @property
    def known(self) -> list[str]:
        """Properties that were measured anywhere."""
        return [name for name in PROPERTIES if any(column.values[name] for column in self.columns)]

    @property
    def strategies(self) -> list[str]:
        """All of them, where there are several."""
        found = list(dict.fromkeys(name for column in self.columns for name in column.strategies))
        return found if len(found) > 1 else []

    @property
    def reasons(self) -> list[str]:
        """Why pieces were dropped, the most frequent first."""
        total = {name: sum(column.reasons.get(name, 0.0) for column in self.columns) for column in self.columns for name in column.reasons}
        return sorted(total, key=lambda name: -total[name])


@dataclass(frozen=True, slots=True)
class Shown:
    """A self-edit as an example: what it teaches beside the passage."""

    label: str
    strategy: str
    reward: float | None
    examples: list[Example]
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Analysis:
    """All of it. `rewards` are mean rank correlations with the reward, `groups` counts what selections chose from that had two or more scored
    self-edits: those of a document in a round, or under a seed of an evaluation. `differ` is whether any two rewards in one differ. `across` are one
    document's self-edits of each policy, `extremes` another one's with the lowest and the highest reward of each round. `search` is the algorithm
    of rounds that left the weights alone, empty of others."""

    held_out: View | None
    rounds: View | None
    rewards: dict[str, Tested]
    groups: int
    differ: bool
    across: tuple[Task, list[Shown]] | None
    extremes: tuple[Task, list[Shown]] | None
    search: str

    @property
    def view(self) -> View:
        """The one that shows what changed: on held-out documents, where the policy was measured there."""
        found = self.held_out if self.held_out and (len(self.held_out.columns) > 1 or not self.rounds) else self.rounds
        assert found is not None
        return found

    @property
    def changing(self) -> bool:
        """Whether there is anything to compare."""
        return len(self.view.columns) > 1


# ---------------------------------------------------------------- reading

ByTask = Mapping[str, Sequence[Proposal]]
Held = tuple[str, ByTask, ByTask]
"""A column's name, its self-edits by task, and all that was written for it, with those that are not looked at."""
Words = Callable[[str], tuple[str, str, str]]
"""Label, who wrote it, and tick of a column by its name."""
Measured = dict[str, list[tuple[Proposal, Values]]]


def review(reader: Reader) -> Analysis | None:
    """None where the run wrote no self-edits, or only tried rewards with them; numbers and directives alone have none of these properties."""
    written = [one.edit for one in reader.proposals(0)]
    if written and not any(edit.examples for edit in written):
        return None
    tasks, candidates = {task.id: task for task in reader.tasks()}, [one for one in reader.candidates() if not one.proposal.edit.vector]
    rounds, held_out, search = _rounds(reader), _held_out(reader), _search(reader)
    if not rounds and not held_out:
        return None
    measured, measured_held_out = _measured(tasks, rounds), _measured(tasks, held_out)
    groups = _groups(candidates, measured or [each for chunk in _choices(reader) for each in _measured(tasks, [chunk])])
    return Analysis(
        held_out=_view(tasks, held_out, measured_held_out, _words_of_row) if held_out else None,
        rounds=_view(tasks, rounds, measured, _words_of_round(search, [name for name, _, _ in held_out])) if rounds else None,
        rewards=_told(with_reward(groups), 1.0) if any(groups) else {},
        groups=sum(len(of) > 1 for rounds_ in groups for of in rounds_),
        differ=differ(groups),
        across=_across(tasks, held_out, measured_held_out) if len(held_out) > 1 else None,
        extremes=_extremes(tasks, rounds, measured, candidates),
        search=search,
    )


def _search(reader: Reader) -> str:
    """The recipe's algorithm, where it searches: `learn`, which has no held-out documents, goes by no search."""
    kind: str = reader.info().recipe.get("algorithm", {}).get("type", "")
    return kind if kind in SEARCHES and any(step.name == "held-out" for step in reader.steps()) else ""


def _rounds(reader: Reader) -> list[Held]:
    names = [step.name.removesuffix("/edits") for step in reader.steps() if re.fullmatch(r"round-\d+/edits", step.name)]
    return [(name, by_task, by_task) for name in names for by_task in [_by_task(reader.step(f"{name}/edits", Proposal))]]


def _choices(reader: Reader) -> list[Held]:
    """What `best_of_k` chose from: all K self-edits of some documents under one seed. What is written under another seed is no part of the choice."""
    names = [step.name for step in reader.steps() if re.fullmatch(r"evaluate/best_of_k/candidates/\d+-\d+", step.name)]
    return [(name, by_task, by_task) for name in names for by_task in [_by_task(c.proposal for c in reader.step(name, Candidate))]]


def _held_out(reader: Reader) -> list[Held]:
    """Each row with the self-edits that its answers come from: one under each seed, all by the same strategy."""
    names = [match for step in reader.steps() if (match := re.fullmatch(r"evaluate/([^/]+)/edits/\d+-\d+", step.name))]
    rows = grouped((match[1], reader.step(match[0], Proposal)) for match in names)
    found: list[Held] = []
    for row, chunks in rows.items():
        strategy = _strategy(reader, [p for chunk in chunks for p in chunk]) if row == "untrained" else None
        firsts = [next((p for p in of if p.edit.strategy == strategy), of[0]) for chunk in chunks for of in _by_task(chunk).values()]
        found.append((row, _by_task(firsts), _by_task(p for chunk in chunks for p in chunk)))
    return found


def _strategy(reader: Reader, proposals: Sequence[Proposal]) -> str | None:
    """The strategy that the row `untrained` answers with: the one whose own row has the same results."""

    def said(results: Sequence[Result]) -> list[Result]:
        return [replace(result, row="") for result in results]

    names, untrained = dict.fromkeys(p.edit.strategy for p in proposals), said(reader.results("untrained"))
    return next((name for name in names if untrained and said(reader.results(name)) == untrained), None)


def _by_task(proposals: Iterable[Proposal]) -> dict[str, list[Proposal]]:
    return grouped((proposal.task_id, proposal) for proposal in proposals)


def _measured(tasks: Mapping[str, Task], columns: Sequence[Held]) -> list[Measured]:
    """The properties of every self-edit, column by column; each is held against all of its document in earlier columns."""
    earlier: dict[str, list[Text]] = {}
    found = []
    for _, by_task, every in columns:
        edits = {id_: [p.edit for p in of] for id_, of in by_task.items()}
        found.append({id_: list(zip(of, group(tasks[id_], edits[id_], earlier.get(id_, ())), strict=True)) for id_, of in by_task.items()})
        for id_, of in every.items():
            earlier.setdefault(id_, []).extend(read(tasks[id_], p.edit) for p in of)
    return found


def _groups(candidates: Sequence[Candidate], measured: Sequence[Measured]) -> list[list[Scored]]:
    """The scored self-edits of each task, round by round or seed by seed."""
    rewards = {c.proposal.key: c.reward.value for c in candidates if c.reward.value is not None and math.isfinite(c.reward.value)}
    found: dict[str, list[Scored]] = {}
    for of_column in measured:
        for id_, of in of_column.items():
            if scored := [(values, rewards[p.key]) for p, values in of if p.key in rewards]:
                found.setdefault(id_, []).append(scored)
    return list(found.values())


# ---------------------------------------------------------------- columns


def _words_of_row(row: str) -> tuple[str, str, str]:
    """Label, who wrote it, and tick of a row."""
    if number := re.fullmatch(r"round-(\d+)", row):
        return f"After round {number[1]}", "", number[1]
    known = {
        "untrained": ("Untrained", "the untrained model", "0"),
        PICKS: ("Untrained picks", "the untrained model, by strategies that it picked", "picks"),
        "cold_start": ("Cold start", "after it was shown good ones", "cold"),
        "best_strategy": ("Best strategy", "that the search found", "best"),
    }
    return known.get(row, (row.replace("_", " ").capitalize(), "", row.replace("_", " ")))


def _words_of_round(search: str, rows: Sequence[str]) -> Words:
    """The same of a round: its self-edits are written by the policy that the round before it made, or tried in a search."""
    start = next((_words_of_row(row)[2] for row in ("cold_start", PICKS) if row in rows), "0")

    def words(name: str) -> tuple[str, str, str]:
        number = int(name.removeprefix("round-"))
        if search:
            label, writer = SEARCHES[search]
            return label.format(number + 1), writer, f"#{number + 1}"
        writer = f"after {plural(number, 'round')}" if number else "after the cold start" if "cold_start" in rows else "by the untrained model"
        return f"Round {number + 1}", f"written {writer}", str(number) if number else start

    return words


def _view(tasks: Mapping[str, Task], columns: Sequence[Held], measured: Sequence[Measured], words: Words) -> View:
    means = [{id_: {name: _mean(values[name] for _, values in of) for name in PROPERTIES} for id_, of in by_task.items()} for by_task in measured]
    found = []
    for (name, by_task, _), of_tasks, of_column in zip(columns, measured, means, strict=True):
        label, writer, tick = words(name)
        edits = [(p.edit, values) for of in of_tasks.values() for p, values in of]
        pieces = sum(len(p.edit.dropped) + len(taught(tasks[id_], p.edit)) for id_, of in by_task.items() for p in of)
        found.append(
            Column(
                name=name,
                label=label,
                written=writer,
                tick=tick,
                edits=len(edits),
                tasks=len(by_task),
                empty=sum(not values["facts"] for _, values in edits) / len(edits),
                values={name: _interval([of[name] for of in of_column.values()], name) for name in PROPERTIES},
                strategies=shares(edit.strategy for edit, _ in edits),
                reasons=shares((reason(piece.reason) for edit, _ in edits for piece in edit.dropped), pieces),
            )
        )
    start = next((i for i, column in enumerate(found[:-1]) if column.name == PICKS), 0)
    return View(found, _changes(means[start], means[-1]) if len(means) > 1 else {}, start)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _interval(values: Sequence[float | None], name: str) -> Interval | None:
    """Over documents; a share stays within 0 and 1."""
    known = [[value] for value in values if value is not None]
    if not known:
        return None
    found = stats.interval(known, shares=False)
    return _within(found, 0.0, 1.0 if name in SHARES else math.inf) if len(known) > 1 else found


def _within(interval: Interval, low: float, high: float) -> Interval:
    return replace(interval, low=max(low, interval.low), high=min(high, interval.high)) if math.isfinite(interval.low) else interval


def _changes(first: Mapping[str, Values], last: Mapping[str, Values]) -> dict[str, Tested]:
    both = [id_ for id_ in first if id_ in last]
    pairs = {name: [(last[id_][name], first[id_][name]) for id_ in both] for name in PROPERTIES}
    return _told({name: [[b - a] if a is not None and b is not None else [] for b, a in of] for name, of in pairs.items()})


def _told(groups: Mapping[str, Sequence[Sequence[float]]], most: float = math.inf) -> dict[str, Tested]:
    """The mean of each property over tasks, told from zero together with the others."""
    known = {name: of for name, of in groups.items() if any(of)}
    if not known:
        return {}
    p = stats.max_t_pvalues([[_mean(values) for values in of] for of in known.values()])
    intervals = {name: _within(stats.interval(of, shares=False), -most, most) for name, of in known.items()}
    return {name: Tested(intervals[name], value, sum(map(bool, known[name]))) for name, value in zip(known, p, strict=True)}


# ---------------------------------------------------------------- examples


def _shown(task: Task, label: str, proposal: Proposal, values: Values, reward: float | None = None) -> Shown:
    return Shown(label, proposal.edit.strategy, reward, taught(task, proposal.edit), dict(values))


def _across(tasks: Mapping[str, Task], columns: Sequence[Held], measured: Sequence[Measured]) -> tuple[Task, list[Shown]] | None:
    """The first document that every policy wrote about."""
    id_ = next((id_ for id_ in measured[0] if all(id_ in of for of in measured)), None)
    if id_ is None:
        return None
    firsts = [(_words_of_row(name)[0], *of[id_][0]) for (name, _, _), of in zip(columns, measured, strict=True)]
    return tasks[id_], [_shown(tasks[id_], *first) for first in firsts]


def _extremes(
    tasks: Mapping[str, Task], columns: Sequence[Held], measured: Sequence[Measured], candidates: Sequence[Candidate]
) -> tuple[Task, list[Shown]] | None:
    """The document whose rewards lie farthest apart in a round, the first of equals: the lowest and the highest of every round."""
    rewards = {c.proposal.key: c.reward.value for c in candidates if c.reward.value is not None and math.isfinite(c.reward.value)}
    found: dict[str, list[tuple[float, list[Shown]]]] = {}
    for (name, _, _), of_column in zip(columns, measured, strict=True):
        for id_, of in of_column.items():
            scored = sorted(((rewards[p.key], p.index, p, values) for p, values in of if p.key in rewards), key=lambda each: each[:2])
            if scored and scored[-1][0] > scored[0][0]:
                label = f"Round {int(name.removeprefix('round-')) + 1}"
                ends = [(f"{label}, lowest reward", scored[0]), (f"{label}, highest reward", scored[-1])]
                shown = [_shown(tasks[id_], what, p, values, reward) for what, (reward, _, p, values) in ends]
                found.setdefault(id_, []).append((scored[-1][0] - scored[0][0], shown))
    if not found:
        return None
    id_ = max(found, key=lambda id_: max(spread for spread, _ in found[id_]))
    return tasks[id_], [one for _, shown in found[id_] for one in shown]
