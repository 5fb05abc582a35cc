"""Strategies that ask once for the whole passage: a user's turn for chat models, a text to continue for base ones."""

from __future__ import annotations

from selfedit.strategies.base import Source, Strategy
from selfedit.types import Prompt


class WholePassage(Strategy):
    """One prompt over the whole passage."""

    def chat(self, source: Source) -> str:
        """The request as a user's turn."""
        raise NotImplementedError

    def base(self, source: Source) -> str:
        """A text that what is wanted naturally continues."""
        raise NotImplementedError

    def ask(self, source: Source) -> tuple[Prompt, ...]:
        """The one that fits the model."""
        return (Prompt(self.chat(source)) if source.chat else Prompt(self.base(source), continued=True),)
