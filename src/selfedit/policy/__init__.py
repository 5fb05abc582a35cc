"""The policy: the model that writes self-edits, learns from them, and answers."""

from selfedit.policy.policy import Asked, Policy
from selfedit.policy.render import Renderer
from selfedit.policy.seeds import derive

__all__ = ["Asked", "Policy", "Renderer", "derive"]
