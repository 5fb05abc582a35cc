"""Strategies: the prompts self-edits are written with, and the parsers that make training examples of what comes back."""

from selfedit.strategies.choosing import chances, choosing, drawn, parts
from selfedit.strategies.demonstrations import demonstrate
from selfedit.strategies.spans import pieces
from selfedit.strategies.strategies import STRATEGIES, Strategy, at_once, build, find, joined, prompts_for

__all__ = [
    "STRATEGIES",
    "Strategy",
    "at_once",
    "build",
    "chances",
    "choosing",
    "demonstrate",
    "drawn",
    "find",
    "joined",
    "parts",
    "pieces",
    "prompts_for",
]
