"""The self-edits of a run: rewards by task and by round, the best and the worst, what guards said."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfedit.directives import write
from selfedit.errors import LedgerError
from selfedit.grouping import grouped
from selfedit.report.words import PartWords, signed
from selfedit.study import statistics as stats
from selfedit.types import Answer, Candidate, Interval, Question, Reward, Selected, Task, Value, Verdict

SHOWN = 3
"""Best and worst self-edits in the gallery."""

MOST_VERDICTS = 100
"""Refusals that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class Card:
    """One self-edit in the gallery. `asked` has each reward question with its answers, one of each adapter that was trained; `cut` counts turns."""

    task: Task
    candidate: Candidate
    kept: bool
    loss: str
    cut: int
    asked: list[tuple[Question, list[Answer]]]
    correct: int
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Round:
    """Rewards of a round: over all scored candidates, and over the best of each task; `parts` are means of what the rewards were made of."""

    round: int
    candidates: int
    unscored: int
    mean: Interval | None
    best: Interval | None
    kept: int
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Way:
    """A strategy over the rounds: for each how many self-edits were written with it, and their mean reward (None where none was scored)."""

    strategy: str
    rounds: list[tuple[int, float | None]]


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of a directive over the rounds: for each how many self-edits have it, their share of those with the directive, and mean reward."""

    directive: str
    value: str
    rounds: list[tuple[int, float, float | None]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and what it was about."""

    about: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Edits:
    """Everything that the candidates and guards of a run say. `by_task` is in the order of the tasks; `refusals` are of the run as a whole.

    `parts` are the names of what rewards were made of, `unscored` the most frequent reasons for having none.
    """

    reward_kind: str
    reward_meaning: str
    by_task: list[tuple[Task, list[Candidate]]]
    kept: set[tuple[str, int, int]]
    rounds: list[Round]
    ways: list[Way]
    settings: list[Setting]
    best: list[Card]
    worst: list[Card]
    counts: list[tuple[str, dict[str, int]]]
    refusals: list[Verdict]
    judgements: list[Judgement]
    left_off: int
    parts: list[str]
    unscored: list[tuple[str, int]]


def review(
    tasks: Sequence[Task],
    candidates: Sequence[Candidate],
    kept: Sequence[Selected],
    verdicts: Sequence[Verdict],
    words: PartWords,
    adapters: Mapping[str, str] | None = None,
) -> Edits:
    """`verdicts` are those about the run and its `adapters`, which are given with their titles; those about a candidate come with it.

    Raises LedgerError for rewards of different kinds.
    """
    chosen = {one.key for one in kept}
    best, worst = _gallery({task.id: task for task in tasks}, candidates, chosen, words)
    by_task = [(task, [c for c in candidates if c.proposal.task_id == task.id]) for task in tasks]
    titles = {task.id: task.title for task in tasks}
    of_run = [Judgement(f"adapter of {(adapters or {}).get(v.about, v.about)}" if v.about else "the run", v) for v in verdicts]
    of_candidates = [Judgement(f"{titles[c.proposal.task_id]}, {_place(c)}", verdict) for c in candidates for verdict in c.verdicts]
    kinds = sorted({candidate.reward.kind for candidate in candidates})
    if len(kinds) > 1:
        raise LedgerError(f"the self-edits of this run have rewards of different kinds ({', '.join(kinds)}): they are not shown in one table")
    judged = of_run + of_candidates
    refused = of_run + [judgement for judgement in of_candidates if judgement.verdict.against]
    return Edits(
        reward_kind=", ".join(kinds),
        reward_meaning=" ".join(f"The reward is {means}." for kind in kinds if (means := words.means("reward", kind))),
        by_task=[(task, group) for task, group in by_task if group],
        kept=chosen,
        rounds=[_round(number, candidates, chosen, words) for number in sorted({c.proposal.round for c in candidates})],
        ways=_ways(candidates),
        settings=_settings(candidates),
        best=best,
        worst=worst,
        counts=_counts(judged),
        refusals=[verdict for verdict in verdicts if verdict.against],
        judgements=refused[:MOST_VERDICTS],
        left_off=max(0, len(refused) - MOST_VERDICTS),
        parts=list(_parts([candidate.reward for candidate in candidates], words)),
        unscored=Counter(candidate.reward.reason for candidate in candidates if candidate.reward.value is None).most_common(SHOWN),
    )


def _place(candidate: Candidate) -> str:
    return f"round {candidate.proposal.round + 1}, self-edit {candidate.proposal.index + 1}"


def _round(number: int, candidates: Sequence[Candidate], chosen: set[tuple[str, int, int]], words: PartWords) -> Round:
    members = [candidate for candidate in candidates if candidate.proposal.round == number]
    groups = grouped((c.proposal.task_id, c.reward.value) for c in members if c.reward.value is not None and math.isfinite(c.reward.value))
    scored = sum(map(len, groups.values()))
    return Round(
        round=number,
        candidates=len(members),
        unscored=len(members) - scored,
        mean=stats.interval(list(groups.values())) if scored else None,
        best=stats.interval([[max(group)] for group in groups.values()]) if scored else None,
        kept=sum(candidate.proposal.key in chosen for candidate in members),
        parts=_parts([candidate.reward for candidate in members], words),
    )


def _ways(candidates: Sequence[Candidate]) -> list[Way]:
    """In the order in which strategies were first used."""
    rounds = sorted({candidate.proposal.round for candidate in candidates})
    used = grouped(((c.proposal.edit.strategy, c.proposal.round), c.reward.value) for c in candidates)
    strategies = dict.fromkeys(strategy for strategy, _ in used)
    return [Way(strategy, [_mean(used.get((strategy, number), [])) for number in rounds]) for strategy in strategies]


def _settings(candidates: Sequence[Candidate]) -> list[Setting]:
    """Every value of every directive that a self-edit has: numbers in their order, words as they were first used."""
    rounds = sorted({candidate.proposal.round for candidate in candidates})
    used: dict[str, dict[Value, dict[int, list[float | None]]]] = {}
    for candidate in candidates:
        for name, value in candidate.proposal.edit.directives:
            used.setdefault(name, {}).setdefault(value, {}).setdefault(candidate.proposal.round, []).append(candidate.reward.value)
    found = []
    for name, values in used.items():
        of_round = {number: sum(len(by_round.get(number, [])) for by_round in values.values()) for number in rounds}
        for value in sorted(values, key=lambda value: (isinstance(value, str), 0 if isinstance(value, str) else value)):
            each = [(number, *_mean(values[value].get(number, []))) for number in rounds]
            found.append(Setting(name, write(value), [(n, n / max(1, of_round[number]), mean) for number, n, mean in each]))
    return found


def _mean(rewards: Sequence[float | None]) -> tuple[int, float | None]:
    known = [reward for reward in rewards if reward is not None and math.isfinite(reward)]
    return len(rewards), sum(known) / len(known) if known else None


def _parts(rewards: Sequence[Reward], words: PartWords) -> dict[str, float]:
    """The mean of each part, by its name in words."""
    found = grouped((words.labels("reward", r.kind).get(name, name), figure) for r in rewards for name, figure in r.parts)
    return {name: sum(figures) / len(figures) for name, figures in found.items()}


def _gallery(
    tasks: dict[str, Task], candidates: Sequence[Candidate], chosen: set[tuple[str, int, int]], words: PartWords
) -> tuple[list[Card], list[Card]]:
    """The best, the best first, and the worst, the worst first; no self-edit is in both."""

    def card(candidate: Candidate) -> Card:
        return Card(
            task=tasks[candidate.proposal.task_id],
            candidate=candidate,
            kept=candidate.proposal.key in chosen,
            loss=_loss(candidate.losses),
            cut=sum(turn.finish_reason == "length" for turn in candidate.proposal.edit.turns),
            asked=list(grouped((answer.question, answer) for answer in candidate.answers).items()),
            correct=sum(answer.correct is True for answer in candidate.answers),
            parts=_parts([candidate.reward], words),
        )

    scored = [(candidate.reward.value, candidate) for candidate in candidates if candidate.reward.value is not None]
    ranked = [candidate for _, candidate in sorted(scored, key=lambda pair: pair[0], reverse=True)]
    many = min(SHOWN, (len(ranked) + 1) // 2)
    worst = ranked[many:][-many:] if many else []
    return [card(candidate) for candidate in ranked[:many]], [card(candidate) for candidate in reversed(worst)]


def _loss(losses: Sequence[float]) -> str:
    if not losses:
        return "no training step"
    if not all(map(math.isfinite, losses)):
        return "diverged"
    return f"{signed(losses[0]).lstrip('+')} → {signed(losses[-1]).lstrip('+')}"


def _counts(judged: Sequence[Judgement]) -> list[tuple[str, dict[str, int]]]:
    """For each guard how often it decided what."""
    counted = Counter((judgement.verdict.guard, judgement.verdict.decision) for judgement in judged)
    return [(guard, {d: counted[guard, d] for d in ("accept", "shrink", "reject", "stop")}) for guard in sorted({guard for guard, _ in counted})]
