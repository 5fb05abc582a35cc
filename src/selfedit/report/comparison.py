"""The rows of a run side by side: right answers, F1 and exact answers, paired differences, documents, kinds of questions, changed answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

from selfedit.ledger import final_row
from selfedit.report.words import DASH, NARROW, PartWords, count, percent, percent_range, plural, points, points_range
from selfedit.study import statistics as stats
from selfedit.study.chance import recital
from selfedit.text import Judged, judge_answer
from selfedit.types import Answer, Interval, Result, Selected, Task

BASE = "base"
UNTRAINED = "untrained"
PICKS = "untrained_picks"
"""Where a policy picks its strategies, what training began with."""
COLD_START = "cold_start"
SETTINGS = {"default_directives": "the default settings", "random_directives": "random settings"}
"""Where a policy sets directives, rows with the self-edits of the untrained one under other settings, and what those are."""
BASELINES = (BASE, "passage_only", "token_matched", UNTRAINED, *SETTINGS, PICKS, COLD_START)
"""What the other rows are compared with, question by question."""

CHANCE = "chance"
RECITED = ("A random sentence", "what reciting a random sentence of the right passage would score; computed, no model")
"""The row of chance, which is no part."""
STRICT = "by F1, which counts what else an answer says"
"""What verdicts go by."""
LEFT_OUT = "left out: "
"""How the notes begin that say why a row is not there."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What one row has more than another, as shares of the same questions: of right answers, and by F1."""

    correct: Interval
    f1: Interval


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `differences` has a paired difference for each baseline there is, None where the questions are not the same.

    `accuracy` is the share of right answers, whatever else they say; `f1` and `exact` fall with what else is said. All three count questions, each
    with its mean over `seeds`; `mean_tokens` is what one adapter was trained on.
    """

    name: str
    label: str
    meaning: str
    tokens: str
    tokens_each: bool
    mean_tokens: int
    seeds: int
    tasks: int
    accuracy: Interval
    f1: Interval
    exact: Interval
    gold_logprob: Interval | None
    differences: dict[str, Gain | None]


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
class Headline:
    """What the run found in a sentence, and in another how much of it the controls found too (empty: not measured).

    The verdict goes by F1, which an answer cannot raise by saying more. `stages` are the rows from the first to the final one; `difference` is the
    final one's over what `over` says.
    """

    verdict: str
    sentence: str
    control: str
    stages: list[tuple[str, Row]]
    difference: Gain | None
    over: str


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
    answers, words = _by_row(results), PartWords(notes)
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
        headline=_headline(rows, final),
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
    return any(row in (UNTRAINED, PICKS, "best_strategy") or _round(row) for row in rows)


def _round(row: str) -> int:
    """Rounds of training that the policy had; 0 where the row is no round's."""
    number = row.removeprefix("round-")
    return int(number) if number != row and number.isdecimal() else 0


def _words(row: str, trains: bool, words: PartWords) -> tuple[str, str]:
    """A row's name, and what it is."""
    if number := _round(row):
        rounds = plural(number, "round")
        return f"After {rounds}", f"the policy after {rounds} of training, with an adapter for each document on a self-edit that it wrote"
    kind = "vector_row" if ("vector_row", row) in words.noted else "baseline"
    labels = words.labels(kind, row)
    if "together" in labels and not trains:
        return labels["together"], labels["together means"]
    label = words.label(kind, row)
    return label[:1].upper() + label[1:], words.means(kind, row)


def _by_row(results: Iterable[Result]) -> dict[str, ByTask]:
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


def _headline(rows: list[Row], final: str | None) -> Headline | None:
    found = {row.name: row for row in rows}
    if BASE not in found or final not in found:
        return None
    start = next((row for row in (PICKS, UNTRAINED) if row in found), None)
    return _training(found, start, found[final]) if start and final != UNTRAINED else _learning(found, found[final])


def _learning(found: dict[str, Row], final: Row) -> Headline:
    """From before to after."""
    before, gain = found[BASE], final.differences.get(BASE)
    verdict = _verdict(gain, "The model learned.", "The model got worse.", "No change that can be told from chance.")
    sentence = f"On {_asked(final)}, {STRICT}, answers went from {_by_f1(before)} to {_by_f1(final)}"
    sentence += f": {_points(gain.f1)}. " if gain else ". "
    sentence += f"The share of right answers went from {_share(before)} to {_share(final)}{_reciting(found)}."
    return Headline(verdict, sentence, _control(found, final), [("before", before), ("after", final)], gain, "before")


def _training(found: dict[str, Row], start: str, final: Row) -> Headline:
    """From the model as it came, over reading the passage and untrained self-edits, to those of the last round: did it learn to write better ones?

    Its own `start` are those that it writes, or picks and writes, before any training.
    """
    gain, over = final.differences.get(start), "untrained picks" if start == PICKS else "untrained self-edits"
    better = "A better way to write self-edits was found." if final.name == "best_strategy" else "The model learned to write better self-edits."
    verdict = _verdict(gain, better, "Its self-edits got worse.", "No change of its self-edits that can be told from chance.")
    steps = [step for step in _steps(start, over, final) if step[0] in found]
    by_f1 = _listed([f"{_by_f1(found[row])} {when}" for row, _, when in steps], ",")
    shares = _listed([percent(found[row].accuracy.mean) for row, *_ in steps])
    sentence = f"On {_asked(final)} that the policy never learned from, {STRICT}, answers score {by_f1}."
    if gain:
        sentence += f" Over the {over} that is {_points(gain.f1)}."
    if start == PICKS and (fixed := final.differences.get(UNTRAINED)):
        sentence += f" Over its best strategy for all documents, untrained, it is {points(fixed.f1.mean)} points ({points_range(fixed.f1)})."
    sentence += f" The share of right answers is, in this order, {shares}{f': {points(gain.correct.mean)} points' if gain else ''}{_reciting(found)}."
    for row, what in SETTINGS.items():
        if same := final.differences.get(row):
            sentence += f" Over the same untrained self-edits with {what} it is {points(same.f1.mean)} points ({points_range(same.f1)})."
    taught = final.differences.get(COLD_START)
    control = f"Over the cold start alone, {_made(taught)} {_control(found, final)}" if taught else _control(found, final)
    return Headline(verdict, sentence, control.strip(), [(name, found[row]) for row, name, _ in steps], gain, over)


def _steps(start: str, over: str, final: Row) -> list[tuple[str, str, str]]:
    """The rows that lead to the final one, each with its short name and how the sentence speaks of it."""
    when = f"after {plural(_round(final.name), 'round')}" if _round(final.name) else "with the best strategy"
    steps = [
        (BASE, "before", "before learning"),
        ("passage_only", "passage only", "after training on the passage alone"),
        (start, over, f"after training on the self-edits it {'picks and writes' if start == PICKS else 'writes'} as it came"),
        (COLD_START, "cold start", "on those it writes after it was shown good ones"),
    ]
    if final.name != COLD_START:
        steps.append((final.name, when, f"on those it writes {when}{' of training' if _round(final.name) else ''}"))
    return steps


def _listed(parts: list[str], last: str = "") -> str:
    return f"{', '.join(parts[:-1])}{last} and {parts[-1]}"


def _by_f1(row: Row) -> str:
    return f"{percent(row.f1.mean)} ({percent_range(row.f1)})"


def _share(row: Row) -> str:
    return f"{percent(row.accuracy.mean)} ({percent_range(row.accuracy)})"


def _points(interval: Interval) -> str:
    return f"{points(interval.mean)} points, 95{NARROW}% interval {points_range(interval)}"


def _reciting(found: dict[str, Row]) -> str:
    """What the share of right answers has to be compared with."""
    return f"; a random sentence of the right passage would reach {percent(found[CHANCE].accuracy.mean)}" if CHANCE in found else ""


def _asked(row: Row) -> str:
    return f"{plural(row.accuracy.n, 'held-out question')} about {plural(row.tasks, 'document')}"


def _verdict(gain: Gain | None, better: str, worse: str, neither: str) -> str:
    if gain is None:
        return "The two sides answered different questions."
    return better if gain.f1.low > 0 else worse if gain.f1.high < 0 else neither


def _control(found: dict[str, Row], final: Row) -> str:
    """How much of the gain is the self-edits': the strictest control that was measured."""
    for name, how in (("token_matched", ", for as many tokens,"), ("passage_only", "")):
        gain = final.differences.get(name)
        if gain is not None:
            reached = f"{percent(found[name].f1.mean)} by F1 and {percent(found[name].accuracy.mean)} of right answers"
            return f"Training on the passages alone{how} reaches {reached}; {_made(gain)}"
    return ""


def _made(gain: Gain) -> str:
    told = _verdict(gain, "", "", ", which cannot be told from chance")
    return (
        f"the self-edits make {points(gain.f1.mean)} points of difference by F1 ({points_range(gain.f1)}){told}, "
        f"and {points(gain.correct.mean)} of right answers."
    )


def _document(task: Task, before: Seeds, after: Seeds) -> Document:
    return Document(task.id, task.title, len((after or before)[0]), _mean(before), _mean(after))


def _mean(seeds: Seeds) -> float | None:
    marks = _marks(seeds)
    return sum(marks) / len(marks) if marks else None


def _kinds(answers: dict[str, ByTask]) -> list[tuple[str, int, dict[str, float]]]:
    """For each kind of question how many there are and the share each row answers correctly."""
    table: dict[str, dict[str, list[float]]] = {}
    for row, by_task in answers.items():
        for seeds in by_task.values():
            for answer, mark in zip((a for a in seeds[0] if a.correct is not None), _marks(seeds), strict=True):
                table.setdefault(answer.question.kind, {}).setdefault(row, []).append(mark)
    return [(kind, max(map(len, row.values())), {row: sum(marks) / len(marks) for row, marks in row.items()}) for kind, row in sorted(table.items())]
