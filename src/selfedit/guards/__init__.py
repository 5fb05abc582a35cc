"""Guards: a file a guard. One that cannot decide rejects."""

from selfedit.guards.base import AdapterSeen, CandidateSeen, Guard, RoundSeen, ShrinkSettings, accept, guard, judge, reject, stop
from selfedit.guards.shrink import shrink

__all__ = ["AdapterSeen", "CandidateSeen", "Guard", "RoundSeen", "ShrinkSettings", "accept", "guard", "judge", "reject", "shrink", "stop"]
