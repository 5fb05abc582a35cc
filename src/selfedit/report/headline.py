"""What a run found, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from selfedit.report.rows import BASE, CHANCE, COLD_START, PICKS, SETTINGS, STRICT, UNTRAINED, Gain, Row, round_of
from selfedit.report.words import NARROW, percent, percent_range, plural, points, points_range
from selfedit.types import Interval


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


def headline(rows: list[Row], final: str | None) -> Headline | None:
    """What rows say together, given the name of the final one; None where there is no row before it."""
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
    """From the untrained model, over reading the passage and untrained self-edits, to those of the last round: did it learn to write better ones?

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
    when = f"after {plural(round_of(final.name), 'round')}" if round_of(final.name) else "with the best strategy"
    steps = [
        (BASE, "before", "before learning"),
        ("passage_only", "passage only", "after training on the passage alone"),
        (start, over, f"after training on the self-edits it {'picks and writes' if start == PICKS else 'writes'} as it came"),
        (COLD_START, "cold start", "on those it writes after it was shown good ones"),
    ]
    if final.name != COLD_START:
        steps.append((final.name, when, f"on those it writes {when}{' of training' if round_of(final.name) else ''}"))
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
