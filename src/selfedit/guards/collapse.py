"""Did the policy learn to agree with itself? A majority's reward can be had without being right: votes become unanimous while answers get worse
(SRT, arXiv 2505.21444, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit import stats
from selfedit.types import Candidate, Result, Verdict


def collapse(round_: int, candidates: Sequence[Candidate], results: Sequence[Result]) -> Verdict | None:
    """Compares the weights that this round began with to those of the round before: vote share among the candidates, accuracy on held-out questions.

    Rejects where the share rose and the accuracy fell, and stops where the fall is beyond chance: the 95 % interval of the paired difference excludes
    zero. None in the first round, and where the reward is no vote; where accuracy was not measured, it cannot decide and rejects.
    """
    before, after = (_share(candidates, number) for number in (round_ - 1, round_))
    if before is None or after is None:
        return None
    shares = f"the vote share went from {before:.3f} to {after:.3f}"
    then, now = (_marks(results, number) for number in (round_ - 1, round_))
    shared = [task for task in now if len(then.get(task, ())) == len(now[task]) > 0]
    if not shared:
        return Verdict("collapse", "reject", f"{shares}, and no held-out accuracy was measured to compare it with")
    change = stats.paired_difference([now[task] for task in shared], [then[task] for task in shared])
    reason = f"{shares}, held-out accuracy changed by {100 * change.mean:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f})"
    if after <= before or change.mean >= 0:
        return Verdict("collapse", "accept", reason)
    return Verdict("collapse", "stop" if change.high < 0 else "reject", f"{reason}: the model agrees more with itself and is right less often")


def _share(candidates: Sequence[Candidate], round_: int) -> float | None:
    """The mean vote share of a round's candidates, None where there was no vote."""
    shares = [share for c in candidates if c.proposal.round == round_ and (share := c.reward.part("vote_share")) is not None]
    return sum(shares) / len(shares) if shares else None


def _marks(results: Sequence[Result], rounds: int) -> dict[str, list[float]]:
    """By task, the verdicts on the policy after so many rounds."""
    arm = f"round-{rounds}" if rounds else "untrained"
    return {r.task_id: [float(a.correct) for a in r.answers if a.correct is not None] for r in results if r.arm == arm and r.role == "report"}
