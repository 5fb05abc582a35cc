"""`passage-only`: nothing is written; the self-edit is the passage."""

from __future__ import annotations

from selfedit.strategies.base import Source, Strategy, strategy
from selfedit.strategies.parsing import Draft, Parsed, nothing
from selfedit.types import Prompt


@strategy("passage-only", means="the passage as it is; nothing is written")
class PassageOnly(Strategy):
    """The passage alone."""

    at_once = False

    def ask(self, source: Source) -> tuple[Prompt, ...]:
        """Nothing is asked."""
        return ()

    def parse(self, draft: Draft) -> Parsed:
        """Whatever was written is left out."""
        return nothing(draft)
