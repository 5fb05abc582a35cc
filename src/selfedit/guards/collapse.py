"""Did the policy learn to agree with itself? A majority's reward can be had without being right: votes become unanimous while answers get worse
(SRT, arXiv 2505.21444, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.grouping import grouped
from selfedit.guards.base import RoundSeen, accept, guard, reject, stop
from selfedit.parts import Settings
from selfedit.types import Candidate, Result, Verdict


@guard(
    "collapse", means="a policy that agrees more with itself while it is right less often is rejected; beyond chance, the run stops", stage="round"
)
def _collapse(seen: RoundSeen, settings: Settings) -> Verdict | None:
    return collapse(seen.before.candidates, seen.after.candidates, seen.results_before, seen.results) if seen.before else None


def collapse(
    candidates_before: Sequence[Candidate], candidates: Sequence[Candidate], results_before: Sequence[Result], results: Sequence[Result]
) -> Verdict | None:
    """Rejects where the vote share rose and the accuracy on validation questions fell; stops where that fall is beyond chance: the 95 % interval of
    the paired difference excludes zero. None where there was no vote; where accuracy was not measured, it cannot decide and rejects.
    """
    from selfedit.study import statistics

    before, after = _share(candidates_before), _share(candidates)
    if before is None or after is None:
        return None
    shares = f"the vote share went from {before:.3f} to {after:.3f}"
    then, now = _marks(results_before), _marks(results)
    shared = [task for task in now if len(then.get(task, ())) == len(now[task]) > 0]
    if not shared:
        return reject(f"{shares}, and no accuracy on validation questions was measured to compare it with")
    change = statistics.paired_difference([now[task] for task in shared], [then[task] for task in shared])
    reason = (
        f"{shares}, accuracy on validation questions changed by {100 * change.mean:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"
    )
    if after <= before or change.mean >= 0:
        return accept(reason)
    return (stop if change.high < 0 else reject)(f"{reason}: the model agrees more with itself and is right less often")


def _share(candidates: Sequence[Candidate]) -> float | None:
    """The mean vote share of a round's candidates, None where there was no vote."""
    shares = [share for candidate in candidates if (share := candidate.reward.part("vote_share")) is not None]
    return sum(shares) / len(shares) if shares else None


def _marks(results: Sequence[Result]) -> dict[str, list[float]]:
    """By task, how often each validation question was answered correctly."""
    from selfedit.study import statistics

    asked = [result for result in results if result.role == "reward"]
    seeds = grouped((one.task_id, [float(answer.correct) for answer in one.answers if answer.correct is not None]) for one in asked)
    return {task: statistics.over_seeds(marks) for task, marks in seeds.items()}
