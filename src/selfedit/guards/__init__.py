"""Guards return a verdict on an adapter, with the reason. One that cannot decide rejects."""

from selfedit.guards.collapse import collapse
from selfedit.guards.forgetting import ANCHORS, forgetting
from selfedit.guards.training import training

__all__ = ["ANCHORS", "collapse", "forgetting", "training"]
