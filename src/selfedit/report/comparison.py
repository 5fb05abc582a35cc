"""The rows of a run side by side: right answers, F1 and exact answers, paired differences, documents, kinds of questions, changed answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from selfedit.ledger import final_row
from selfedit.report.headline import Headline, headline
from selfedit.report.rows import BASE, BASELINES, CHANCE, PICKS, RECITED, UNTRAINED, Gain, Row, round_of
from selfedit.report.words import DASH, PartWords, count, plural
from selfedit.study import statistics as stats
from selfedit.study.chance import recital
from selfedit.text import Judged, judge_answer
from selfedit.types import Answer, Interval, Result, Selected, Task

LEFT_OUT = "left out: "
"""How the notes begin that say why a row is not there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What one row has more than another."""

    of: Row
    over: Row
    gain: Gain


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that was asked for and could not be measured."""

    name: str
    label: str
    why: str


@dataclass(frozen=True, slots=True)
class Document:
    """A task's report questions before and after; None where a row did not answer them."""

    id: str
    title: str
    n: int
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A report question whose verdict changed."""

    title: str
    before: Answer
    after: Answer


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that the results of a run say. `trains`: the results are of adapters for each document, on documents no policy learned from.

    `differences` are each row's over the baselines, and the final one's over every other. `left_out` has rows that could not be measured, and why.
    """

    trains: bool
    rows: list[Row]
    baselines: list[Row]
    final: str | None
    headline: Headline | None
    documents: list[Document]
    gained: list[Changed]
    lost: list[Changed]
    kinds: list[tuple[str, int, dict[str, float]]]
    differences: list[Difference]
    left_out: list[LeftOut]

    @property
    def gains(self) -> list[Difference]:
        """What the final row has over each other."""
        return [difference for difference in self.differences if difference.of.name == self.final]


Seeds = list[tuple[Answer, ...]]
"""A task's answers, under each seed."""
ByTask = dict[str, Seeds]


def compare(tasks: Sequence[Task], results: Sequence[Result], notes: Mapping[str, str] = MappingProxyType({})) -> Comparison:
    """`results` are answers to report questions; rows stay in the order they were recorded. `notes` of the run say which were left out."""
    answers, words = by_row(results), PartWords(notes)
    final = final_row(list(answers))
    recorded = [_row(name, [result for result in results if result.row == name], answers, final, words) for name in answers]
    rows = _with_chance(recorded, tasks, answers)
    before, after = answers.get(BASE, {}), answers.get(final or "", {})
    titles = {task.id: task.title for task in tasks}
    pairs = [(titles[task_id], pair) for task_id in before if task_id in after for pair in _pair(before[task_id][0], after[task_id][0])]
    changed = [Changed(title, *pair) for title, pair in pairs if pair[0].correct != pair[1].correct]
    return Comparison(
        trains=_trains(answers),
        rows=rows,
        baselines=[row for row in rows if row.name in BASELINES],
        final=final,
        headline=headline(rows, final),
        documents=[_document(task, before.get(task.id, []), after.get(task.id, [])) for task in tasks if task.id in before or task.id in after],
        gained=[change for change in changed if change.after.correct],
        lost=[change for change in changed if change.before.correct],
        kinds=_kinds(answers),
        differences=[Difference(row, over, found) for row in rows for over in rows if (found := row.differences.get(over.name))],
        left_out=[LeftOut(row, _words(row, True, words)[0], why) for note, why in notes.items() if (row := note.removeprefix(LEFT_OUT)) != note],
    )


def unedited(tasks: Sequence[Task], kept: Sequence[Selected]) -> str:
    """How many of the passages that were learned have no self-edit among those that were kept, in words; empty where all have."""
    plain = len({task.id for task in tasks} - {one.task_id for one in kept})
    how = "as it is" if plain == 1 else "as they are"
    return f"{plain} of {plural(len(tasks), 'passage')} learned {how}: no self-edit could be chosen" if plain else ""


def _trains(rows: Iterable[str]) -> bool:
    return any(row in (UNTRAINED, PICKS, "best_strategy") or round_of(row) for row in rows)


def _words(row: str, trains: bool, words: PartWords) -> tuple[str, str]:
    """A row's name, and what it is."""
    if number := round_of(row):
        rounds = plural(number, "round")
        return f"After {rounds}", f"the policy after {rounds} of training, with an adapter for each document on a self-edit that it wrote"
    kind = "vector_row" if ("vector_row", row) in words.noted else "baseline"
    labels = words.labels(kind, row)
    if "together" in labels and not trains:
        return labels["together"], labels["together means"]
    label = words.label(kind, row)
    return label[:1].upper() + label[1:], words.means(kind, row)


def by_row(results: Iterable[Result]) -> dict[str, ByTask]:
    """Answers by row, task and seed."""
    seeds: dict[str, dict[str, dict[int, tuple[Answer, ...]]]] = {}
    for result in results:
        if result.answers:
            of_task = seeds.setdefault(result.row, {}).setdefault(result.task_id, {})
            of_task[result.seed] = (*of_task.get(result.seed, ()), *result.answers)
    return {row: {task: [of_task[seed] for seed in sorted(of_task)] for task, of_task in tasks.items()} for row, tasks in seeds.items()}


def _row(name: str, results: list[Result], answers: dict[str, ByTask], final: str | None, words: PartWords) -> Row:
    own, tokens = answers[name], [result.tokens for result in results]
    label, meaning = _words(name, _trains(answers), words)
    logprobs = [[a.gold_logprob for group in seeds for a in group if a.gold_logprob is not None] for seeds in own.values()]
    baselines = _baselines(name)
    others = [*baselines, *(other for other in answers if name == final and other not in (*baselines, name))]
    return Row(
        name=name,
        label=label,
        meaning=meaning,
        tokens=count(tokens[0]) if len(set(tokens)) == 1 else f"{count(min(tokens))} to {count(max(tokens))}",
        tokens_each=len(set(tokens)) > 1,
        mean_tokens=round(sum(tokens) / len(tokens)),
        seeds=max(map(len, own.values())),
        tasks=len(own),
        accuracy=_mean_share([_marks(seeds) for seeds in own.values()]),
        f1=_mean_share([_marks(seeds, _f1) for seeds in own.values()]),
        exact=_mean_share([_marks(seeds, _exact) for seeds in own.values()]),
        gold_logprob=stats.interval(logprobs) if any(logprobs) else None,
        differences={other: _gain(own, answers[other]) for other in others if other in answers},
    )


def _with_chance(rows: list[Row], tasks: Sequence[Task], answers: dict[str, ByTask]) -> list[Row]:
    """The rows, and after the base what reciting would score on the questions that the first answered; without it where a passage is not known,
    or questions are no words."""
    if not rows:
        return rows
    contexts, first = {task.id: task.context for task in tasks}, answers[rows[0].name]
    if not all(answer.question.in_words for seeds in first.values() for answer in seeds[0]):
        return rows
    said = [recital(contexts.get(task_id, ""), [answer.question for answer in seeds[0]]) for task_id, seeds in first.items()]
    if not all(said):
        return rows
    label, meaning = RECITED
    chance = Row(
        name=CHANCE,
        label=label,
        meaning=meaning,
        tokens=DASH,
        tokens_each=False,
        mean_tokens=0,
        seeds=1,
        tasks=len(said),
        accuracy=_mean_share([[one.correct for one in of_task] for of_task in said]),
        f1=_mean_share([[one.f1 for one in of_task] for of_task in said]),
        exact=_mean_share([[one.exact for one in of_task] for of_task in said]),
        gold_logprob=None,
        differences={},
    )
    place = next((number for number, row in enumerate(rows, start=1) if row.name == BASE), 0)
    return [*rows[:place], chance, *rows[place:]]


def _baselines(row: str) -> Sequence[str]:
    """What a row is compared with; a baseline with those before it."""
    return BASELINES[: BASELINES.index(row)] if row in BASELINES else BASELINES


def _mean_share(groups: stats.Groups) -> Interval:
    """A share lies between 0 and 1, also where a single one has no interval."""
    found = stats.interval(groups)
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


@lru_cache(maxsize=65536)
def _judged(prediction: str, golds: tuple[str, ...]) -> Judged:
    return judge_answer(prediction, golds)


def _correct(answer: Answer) -> float:
    """As it was recorded."""
    return float(answer.correct is True)


def _f1(answer: Answer) -> float:
    """Of the prediction and the right answers; where a domain judges without any, or they are no words, its verdict."""
    golds = answer.question.golds
    return _judged(answer.prediction, golds).f1 if golds and answer.question.in_words else _correct(answer)


def _exact(answer: Answer) -> float:
    """As `_f1`."""
    golds = answer.question.golds
    return float(_judged(answer.prediction, golds).exact) if golds and answer.question.in_words else _correct(answer)


def _marks(seeds: Seeds, measure: Callable[[Answer], float] = _correct) -> list[float]:
    """The mean of each question's answers over its seeds, by a measure from 0 to 1."""
    return stats.over_seeds([[measure(answer) for answer in group if answer.correct is not None] for group in seeds])


def _gain(of: ByTask, over: ByTask) -> Gain | None:
    """Over the tasks both rows answered, and only if they answered the same questions."""
    shared = [task_id for task_id in of if task_id in over]
    if not shared or any(_questions(of[task_id][0]) != _questions(over[task_id][0]) for task_id in shared):
        return None
    pairs = [([_marks(of[t], measure) for t in shared], [_marks(over[t], measure) for t in shared]) for measure in (_correct, _f1)]
    return Gain(*(stats.paired_difference(*pair) for pair in pairs))


def _questions(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    return [(answer.question.question, answer.question.answer) for answer in answers]


def _pair(before: Sequence[Answer], after: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    return list(zip(before, after, strict=True)) if _questions(before) == _questions(after) else []


def _document(task: Task, before: Seeds, after: Seeds) -> Document:
    return Document(task.id, task.title, len((after or before)[0]), _mean(before), _mean(after))


def shares(seeds: Seeds) -> tuple[float | None, float | None]:
    """The share of right answers to a task's questions, and their F1; None where nothing could be judged."""
    return _mean(seeds), _mean(seeds, _f1)


def _mean(seeds: Seeds, measure: Callable[[Answer], float] = _correct) -> float | None:
    marks = _marks(seeds, measure)
    return sum(marks) / len(marks) if marks else None


def _kinds(answers: dict[str, ByTask]) -> list[tuple[str, int, dict[str, float]]]:
    """For each kind of question how many there are and the share each row answers correctly."""
    table: dict[str, dict[str, list[float]]] = {}
    for row, by_task in answers.items():
        for seeds in by_task.values():
            for answer, mark in zip((a for a in seeds[0] if a.correct is not None), _marks(seeds), strict=True):
                table.setdefault(answer.question.kind, {}).setdefault(row, []).append(mark)
    return [(kind, max(map(len, row.values())), {row: sum(marks) / len(marks) for row, marks in row.items()}) for kind, row in sorted(table.items())]
