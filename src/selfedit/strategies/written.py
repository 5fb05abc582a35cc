"""Strategies that a model wrote: its prompt with the passage after it, as often as it wants, read by one of the known parsers."""

from __future__ import annotations

from selfedit.parts import Settings
from selfedit.strategies.base import Source, Strategy
from selfedit.types import Prompt, Variant


class Written(Strategy):
    """A variant of an archive search. Its prompt is data: it stands before the passage as it is and is never used as a template."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(Settings())
        self.variant = variant
        self.form = variant.format
        self.directives = (("epochs", variant.epochs), ("lr", variant.lr))

    @property
    def name(self) -> str:
        """The variant's."""
        return self.variant.strategy

    @property
    def means(self) -> str:
        """The prompt."""
        return self.variant.prompt

    def ask(self, source: Source) -> tuple[Prompt, ...]:
        """The same prompt for each sample."""
        text = f"{self.variant.prompt}\n\nPassage:\n{source.title}\n{source.context}"
        cue = "Question:" if self.form == "questions" else "1."
        return (Prompt(text if source.chat else f"{text}\n\n{cue}", continued=not source.chat),) * self.variant.samples
