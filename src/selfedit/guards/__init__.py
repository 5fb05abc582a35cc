"""Guards: a file a guard. One that cannot decide rejects."""

from selfedit.guards.base import AdapterSeen, CandidateSeen, Guard, RoundSeen, accept, guard, judge, reject, stop

__all__ = ["AdapterSeen", "CandidateSeen", "Guard", "RoundSeen", "accept", "guard", "judge", "reject", "stop"]
