"""Strategies: how self-edits are asked for and read, a file a strategy."""

from selfedit.strategies.base import Source, Strategy, find, joined, strategy
from selfedit.strategies.choosing import chances, choosing, drawn, parts
from selfedit.strategies.demonstrations import demonstrate
from selfedit.strategies.spans import pieces

__all__ = ["Source", "Strategy", "chances", "choosing", "demonstrate", "drawn", "find", "joined", "parts", "pieces", "strategy"]
