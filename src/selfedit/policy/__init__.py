"""The policy: the model that writes self-edits, learns from them, and answers."""

from selfedit.policy.policy import Asked, Policy, derive
from selfedit.policy.render import Renderer

__all__ = ["Asked", "Policy", "Renderer", "derive"]
