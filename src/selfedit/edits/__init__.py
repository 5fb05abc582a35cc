"""Strategies: the prompts self-edits are written with, and the parsers that make training examples of what comes back."""

from selfedit.edits.demonstrations import demonstrate
from selfedit.edits.strategies import STRATEGIES, Strategy, at_once, build, find, prompts_for

__all__ = ["STRATEGIES", "Strategy", "at_once", "build", "demonstrate", "find", "prompts_for"]
