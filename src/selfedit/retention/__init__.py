"""What a model must not lose by learning: everyday prompts with its own answers to them, and probes of what it can do."""

from selfedit.retention.everyday import Everyday, everyday, own_answers

__all__ = ["Everyday", "everyday", "own_answers"]
