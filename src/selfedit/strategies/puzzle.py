"""`puzzle`: nothing is written. The task's own examples are the data, and directives alone say what is made of them (SEAL, few-shot learning)."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.strategies.base import Source, Strategy, strategy
from selfedit.types import Prompt, SelfEdit, Turn


@strategy("puzzle", means="nothing is written: the examples of the task itself are trained on, as the directives say")
class Puzzle(Strategy):
    """A self-edit without any text of its own; the domain makes the training data."""

    at_once = False
    has_text = False

    def ask(self, source: Source) -> tuple[Prompt, ...]:
        """Nothing is asked."""
        return ()

    def build(self, title: str, context: str, turns: Sequence[Turn], seed: int = 0) -> SelfEdit:
        """No examples."""
        return SelfEdit(self.name, tuple(turns), (), directives=self.directives)
