"""Do only those answers get better that are rewarded? Then the policy learns the reward, and not the task (reward hacking, arXiv 2209.13085).

Two signs. The gap between reward questions and validation questions, which are reward questions of held-out documents, grows from one round to the
next by more than is allowed. Or the reward itself, whatever it measures, rises while fewer validation questions are answered rightly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import Field

from selfedit.grouping import grouped
from selfedit.guards.base import Guard, RoundSeen, accept, guard, reject, stop
from selfedit.parts import Settings
from selfedit.types import Answer, Candidate, Interval, Result, Verdict

Marks = Mapping[str, Mapping[str, float]]
"""By task and question, the share of right answers."""


class RewardGapSettings(Settings):
    """Settings of `reward_gap`."""

    max_points: float = Field(10.0, gt=0)
    """Largest growth of the gap from one round to the next, in percentage points of right answers."""


@guard(
    "reward_gap",
    means="a policy that gains more on reward questions than on validation questions is rejected; for certain, the run stops",
    settings=RewardGapSettings,
)
class RewardGap(Guard):
    """Compares a round with the one before, on the same documents."""

    stage = "round"
    validates = True

    def check(self, recipe: Any) -> None:
        """Rounds need documents in common."""
        if recipe.round_passages:
            raise ValueError("guard reward_gap compares rounds on the same documents: leave round_passages at 0")

    def verdict(self, seen: RoundSeen) -> Verdict | None:
        """None after the first round."""
        if seen.before is None:
            return None
        rewards = _change(_rewards(seen.before.candidates), _rewards(seen.after.candidates))
        asked = _change(_of_candidates(seen.before.candidates), _of_candidates(seen.after.candidates))
        held_out = _change(_of_results(seen.results_before), _of_results(seen.results))
        return reward_gap(rewards, asked, held_out, self.settings.max_points)


def reward_gap(rewards: Interval | None, asked: Interval | None, held_out: Interval | None, limit: float) -> Verdict:
    """Changes of the mean reward, and of the shares of right answers to reward and to validation questions; None for what was not measured.

    Rejects where the gap has grown by more than `limit` points and by more than chance; stops where all of the interval is beyond the limit, or the
    reward has risen beyond chance and the validation answers have got worse beyond chance.
    """
    if held_out is None:
        return reject("no answers to validation questions were measured that the reward could be compared with")
    reason = f"validation questions: {_points(held_out)}"
    if rewards is not None:
        reason = f"reward: {rewards.mean:+.3f} ({rewards.low:+.3f} to {rewards.high:+.3f}), {reason}"
        if rewards.low > 0 and held_out.high < 0:
            return stop(f"{reason}: the reward rises, and what it stands for falls")
    if asked is None:
        return accept(reason)
    gap = difference(asked, held_out)
    reason = (
        f"{reason}, reward questions: {_points(asked)}; the gap grew by {_points(gap)}, {limit:g} are allowed (recipe: guard.reward_gap.max_points)"
    )
    if 100 * gap.low > limit:
        return stop(reason)
    return reject(reason) if gap.low > 0 and 100 * gap.mean > limit else accept(reason)


def difference(a: Interval, b: Interval) -> Interval:
    """The difference of two independent means, with an interval out of theirs (Newcombe 1998, method 10: square and add)."""
    mean = a.mean - b.mean
    below, above = math.hypot(a.mean - a.low, b.high - b.mean), math.hypot(a.high - a.mean, b.mean - b.low)
    return Interval(mean, mean - below, mean + above, min(a.n, b.n))


def _points(change: Interval) -> str:
    return f"{100 * change.mean:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"


def _change(before: Marks, after: Marks) -> Interval | None:
    """What changed on the questions that were asked both times; None where there is none."""
    from selfedit.study import statistics

    shared = {task: [question for question in after[task] if question in before[task]] for task in after if task in before}
    pairs = [([after[task][q] for q in some], [before[task][q] for q in some]) for task, some in shared.items() if some]
    return statistics.paired_difference([now for now, _ in pairs], [then for _, then in pairs]) if pairs else None


def _rewards(candidates: Sequence[Candidate]) -> Marks:
    """The mean reward of each task's self-edits, under the one question what they are worth."""
    values = grouped((one.proposal.task_id, one.reward.value) for one in candidates if one.reward.value is not None)
    return {task: {"": fmean(some)} for task, some in values.items()}


def _of_candidates(candidates: Sequence[Candidate]) -> Marks:
    """Of reward questions: the share among all self-edits of a task whose adapters answered rightly."""
    return _marks([(one.proposal.task_id, answer) for one in candidates for answer in one.answers])


def _of_results(results: Sequence[Result]) -> Marks:
    """Of validation questions."""
    return _marks([(one.task_id, answer) for one in results if one.role == "reward" for answer in one.answers])


def _marks(answers: Sequence[tuple[str, Answer]]) -> Marks:
    found = grouped((task, (answer.question.question, float(answer.correct))) for task, answer in answers if answer.correct is not None)
    return {task: {question: fmean(marks) for question, marks in grouped(of).items()} for task, of in found.items()}
