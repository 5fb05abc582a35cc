"""Do votes still say anything? Where all agree, no self-edit is better than another; where one answer wins everywhere, the model has collapsed.

A reward by majority can be had by always answering the same (SRT, arXiv 2505.21444, section 5). `collapse` compares rounds; this looks at one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from selfedit.guards.base import RoundSeen, accept, guard, reject, stop
from selfedit.parts import Settings
from selfedit.text import normalise
from selfedit.types import Candidate, Verdict

FEWEST = 6
"""Questions that a round has at least for their answers to be compared with each other."""


class VoteCollapseSettings(Settings):
    """Settings of `vote_collapse`."""

    max_unanimous: float = Field(0.9, ge=0, le=1)
    """Largest share of tasks on all of whose questions all votes agree."""
    max_same: float = Field(0.5, gt=0, le=1)
    """Largest share of questions that have the same most frequent answer."""


@guard(
    "vote_collapse",
    means="a round whose votes nearly all agree is rejected; where one answer is given to most questions, the run stops",
    settings=VoteCollapseSettings,
    stage="round",
)
def _vote_collapse(seen: RoundSeen, settings: VoteCollapseSettings) -> Verdict | None:
    return vote_collapse(seen.after.candidates, settings)


def vote_collapse(candidates: Sequence[Candidate], limits: VoteCollapseSettings) -> Verdict | None:
    """Rejects where too many tasks are unanimous, stops where one answer is the most frequent to too many questions; None where nobody voted."""
    shares = {c.proposal.task_id: share for c in candidates if (share := c.reward.part("vote_share")) is not None}
    if not shares:
        return None
    unanimous = sum(share >= 1.0 for share in shares.values()) / len(shares)
    votes: dict[tuple[str, str], Counter[str]] = {}
    for one in candidates:
        for answer in one.answers:
            votes.setdefault((one.proposal.task_id, answer.question.question), Counter())[normalise(answer.prediction)] += 1
    winners = Counter(found.most_common(1)[0][0] for found in votes.values())
    same = winners.most_common(1)[0][1] / len(votes) if len(votes) >= FEWEST else 0.0
    reason = (
        f"all votes agree on {unanimous:.0%} of {len(shares)} tasks, {limits.max_unanimous:.0%} are allowed; "
        f"one answer is the most frequent to {same:.0%} of {len(votes)} questions, {limits.max_same:.0%} are allowed"
    )
    if same > limits.max_same:
        return stop(f"{reason}: the model answers the same whatever it is asked")
    return reject(f"{reason}: there is nothing to learn from such votes") if unanimous > limits.max_unanimous else accept(reason)
