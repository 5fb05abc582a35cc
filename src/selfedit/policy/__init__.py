"""The policy: the model that writes self-edits, learns from them, and answers."""

from selfedit.policy.policy import Policy, derive

__all__ = ["Policy", "derive"]
