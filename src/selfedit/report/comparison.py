"""The arms of a run side by side: accuracy on report questions, paired differences, documents, kinds of questions, changed answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfedit import stats
from selfedit.ledger import final_arm
from selfedit.report.words import count, percent, percent_range, plural, points, points_range
from selfedit.types import Answer, Interval, Result, Task

BASE = "base"
UNTRAINED = "untrained"
BASELINES = (BASE, "passage_only", "passage_only_matched", UNTRAINED)
"""What the other arms are compared with, question by question."""

ARMS = {
    "base": ("Before", "the model as it came"),
    "passage_only": ("Passages only", "trained on the passages alone, as many epochs"),
    "passage_only_matched": ("Passages only, same tokens", "trained on the passages alone, on as many tokens as the result"),
    "after": ("After", "trained on the self-edits that were kept"),
    "best_per_document": ("Best per document", "an adapter of its own for each document, on its best self-edit"),
    "best_strategy": ("Best strategy found", "an adapter for each document, on a self-edit written in the way that did best in the search"),
    "untrained": ("Untrained self-edits", "an adapter for each document, on a self-edit that the model wrote as it came"),
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm. `differences` has a paired difference for each baseline there is, None where the questions are not the same."""

    name: str
    label: str
    meaning: str
    tokens: str
    tokens_each: bool
    tasks: int
    accuracy: Interval
    gold_logprob: Interval | None
    differences: dict[str, Interval | None]


@dataclass(frozen=True, slots=True)
class Headline:
    """What the run found in a sentence, and in another how much of it the controls found too (empty: not measured).

    `stages` are the accuracies from the first to the final one; `difference` is the final one's over what `over` says.
    """

    verdict: str
    sentence: str
    control: str
    stages: list[tuple[str, Interval]]
    difference: Interval | None
    over: str


@dataclass(frozen=True, slots=True)
class Document:
    """A task's report questions before and after; None where an arm did not answer them."""

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
    """Everything that the results of a run say. `trains`: its rounds train the policy, and the results are on documents it never learned from."""

    trains: bool
    arms: list[Arm]
    baselines: list[Arm]
    final: str | None
    headline: Headline | None
    documents: list[Document]
    gained: list[Changed]
    lost: list[Changed]
    kinds: list[tuple[str, int, dict[str, float]]]


ByTask = dict[str, tuple[Answer, ...]]


def compare(tasks: Sequence[Task], results: Sequence[Result]) -> Comparison:
    """`results` are answers to report questions; arms stay in the order they were recorded."""
    answers = _by_arm(results)
    arms = [_arm(name, [result for result in results if result.arm == name], answers) for name in answers]
    final = final_arm(list(answers))
    before, after = answers.get(BASE, {}), answers.get(final or "", {})
    titles = {task.id: task.title for task in tasks}
    pairs = [(titles[task_id], pair) for task_id in before if task_id in after for pair in _pair(before[task_id], after[task_id])]
    changed = [Changed(title, *pair) for title, pair in pairs if pair[0].correct != pair[1].correct]
    return Comparison(
        trains=_trains(answers),
        arms=arms,
        baselines=[arm for arm in arms if arm.name in BASELINES],
        final=final,
        headline=_headline(arms, final),
        documents=[_document(task, before.get(task.id, ()), after.get(task.id, ())) for task in tasks if task.id in before or task.id in after],
        gained=[change for change in changed if change.after.correct],
        lost=[change for change in changed if change.before.correct],
        kinds=_kinds(answers),
    )


def _trains(arms: Iterable[str]) -> bool:
    return any(arm == UNTRAINED or _round(arm) for arm in arms)


def _round(arm: str) -> int:
    """Rounds of training that the policy had; 0 where the arm is no round's."""
    number = arm.removeprefix("round-")
    return int(number) if number != arm and number.isdecimal() else 0


def _words(arm: str, trains: bool) -> tuple[str, str]:
    """An arm's name, and what it is."""
    if number := _round(arm):
        rounds = plural(number, "round")
        return f"After {rounds}", f"the policy after {rounds} of training, with an adapter for each document on a self-edit that it wrote"
    if arm == "passage_only" and trains:
        return "Passage only", "an adapter for each document, on the passage alone"
    return ARMS.get(arm, (arm.replace("_", " ").capitalize(), ""))


def _by_arm(results: Iterable[Result]) -> dict[str, ByTask]:
    answers: dict[str, ByTask] = {}
    for result in results:
        if result.answers:
            of_arm = answers.setdefault(result.arm, {})
            of_arm[result.task_id] = (*of_arm.get(result.task_id, ()), *result.answers)
    return answers


def _arm(name: str, results: list[Result], answers: dict[str, ByTask]) -> Arm:
    own = answers[name]
    label, meaning = _words(name, _trains(answers))
    logprobs = [[a.gold_logprob for a in group if a.gold_logprob is not None] for group in own.values()]
    return Arm(
        name=name,
        label=label,
        meaning=meaning,
        tokens=_tokens([result.tokens for result in results]),
        tokens_each=len({result.tokens for result in results}) > 1,
        tasks=len(own),
        accuracy=stats.interval([_marks(group) for group in own.values()]),
        gold_logprob=stats.interval(logprobs) if any(logprobs) else None,
        differences={other: _difference(own, answers[other]) for other in _baselines(name) if other in answers},
    )


def _baselines(arm: str) -> Sequence[str]:
    """What an arm is compared with; a baseline with those before it."""
    return BASELINES[: BASELINES.index(arm)] if arm in BASELINES else BASELINES


def _marks(answers: Iterable[Answer]) -> list[float]:
    return [float(answer.correct) for answer in answers]


def _tokens(tokens: list[int]) -> str:
    least, most = min(tokens), max(tokens)
    return count(most) if least == most else f"{count(least)} to {count(most)}"


def _difference(of: ByTask, over: ByTask) -> Interval | None:
    """Over the tasks both arms answered, and only if they answered the same questions."""
    shared = [task_id for task_id in of if task_id in over]
    if not shared or any(_questions(of[task_id]) != _questions(over[task_id]) for task_id in shared):
        return None
    return stats.paired_difference([_marks(of[task_id]) for task_id in shared], [_marks(over[task_id]) for task_id in shared])


def _questions(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    return [(answer.question.question, answer.question.answer) for answer in answers]


def _pair(before: Sequence[Answer], after: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    return list(zip(before, after, strict=True)) if _questions(before) == _questions(after) else []


def _headline(arms: list[Arm], final: str | None) -> Headline | None:
    found = {arm.name: arm for arm in arms}
    if BASE not in found or final not in found:
        return None
    return (_training if UNTRAINED in found else _learning)(found, found[final])


def _learning(found: dict[str, Arm], final: Arm) -> Headline:
    """From before to after."""
    before, after, difference = found[BASE].accuracy, final.accuracy, final.differences.get(BASE)
    verdict = _verdict(difference, "The model learned.", "The model got worse.", "No change that can be told from chance.")
    sentence = (
        f"On {_asked(final)}, the share of correct answers went from {percent(before.mean)} ({percent_range(before)}) "
        f"to {percent(after.mean)} ({percent_range(after)})"
    )
    if difference is not None:
        sentence += f": {points(difference.mean)} points, 95 % interval {points_range(difference)}"
    return Headline(verdict, f"{sentence}.", _control(found, final), [("before", before), ("after", after)], difference, "before")


def _training(found: dict[str, Arm], final: Arm) -> Headline:
    """From the model as it came, over reading the passage and untrained self-edits, to those of the last round: did it learn to write better ones?"""
    difference = final.differences.get(UNTRAINED)
    when = f"after {plural(_round(final.name), 'round')}" if _round(final.name) else "with the best strategy"
    better, worse = "The model learned to write better self-edits.", "Its self-edits got worse."
    verdict = _verdict(difference, better, worse, "No change of its self-edits that can be told from chance.")
    steps = [
        (BASE, "before", "before learning"),
        ("passage_only", "passage only", "after training on the passage alone"),
        (UNTRAINED, "untrained self-edits", "after training on the self-edits it writes as it came"),
        (final.name, when, f"on those it writes {when}{' of training' if _round(final.name) else ''}"),
    ]
    shares = [f"{percent(found[arm].accuracy.mean)} ({percent_range(found[arm].accuracy)}) {when}" for arm, _, when in steps if arm in found]
    sentence = f"On {_asked(final)} that the policy never learned from, the share of correct answers is {', '.join(shares[:-1])}, and {shares[-1]}."
    if difference is not None:
        sentence += f" Over the untrained self-edits that is {points(difference.mean)} points, 95 % interval {points_range(difference)}."
    stages = [(name, found[arm].accuracy) for arm, name, _ in steps if arm in found]
    alone = final.differences.get("passage_only")
    control = f"Over training on the passage alone, {_made(alone)}" if alone else ""
    return Headline(verdict, sentence, control, stages, difference, "untrained self-edits")


def _asked(arm: Arm) -> str:
    return f"{plural(arm.accuracy.n, 'held-out question')} about {plural(arm.tasks, 'document')}"


def _verdict(difference: Interval | None, better: str, worse: str, neither: str) -> str:
    if difference is None:
        return "The two sides answered different questions."
    return better if difference.low > 0 else worse if difference.high < 0 else neither


def _control(found: dict[str, Arm], final: Arm) -> str:
    """How much of the gain is the self-edits': the strictest control that was measured."""
    for name, how in (("passage_only_matched", ", for as many tokens,"), ("passage_only", "")):
        difference = final.differences.get(name)
        if difference is not None:
            return f"Training on the passages alone{how} reaches {percent(found[name].accuracy.mean)}; {_made(difference)}"
    return ""


def _made(difference: Interval) -> str:
    told = _verdict(difference, "", "", ", which cannot be told from chance")
    return f"the self-edits make {points(difference.mean)} points of difference ({points_range(difference)}){told}."


def _document(task: Task, before: Sequence[Answer], after: Sequence[Answer]) -> Document:
    return Document(task.id, task.title, len(after or before), _share(before), _share(after))


def _share(answers: Sequence[Answer]) -> float | None:
    return sum(_marks(answers)) / len(answers) if answers else None


def _kinds(answers: dict[str, ByTask]) -> list[tuple[str, int, dict[str, float]]]:
    """For each kind of question how many there are and the share each arm answers correctly."""
    table: dict[str, dict[str, list[float]]] = {}
    for arm, by_task in answers.items():
        for answer in (answer for group in by_task.values() for answer in group):
            table.setdefault(answer.question.kind, {}).setdefault(arm, []).append(float(answer.correct))
    return [(kind, max(map(len, row.values())), {arm: sum(marks) / len(marks) for arm, marks in row.items()}) for kind, row in sorted(table.items())]
