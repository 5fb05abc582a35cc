"""Strategies that a model wrote: its prompt with the passage after it, as often as it wants, read by one of the known parsers."""

from __future__ import annotations

from selfedit.strategies.parsing import questions, statements
from selfedit.strategies.strategies import Source, Strategy
from selfedit.types import Prompt, Variant


def strategy(variant: Variant) -> Strategy:
    """The prompt is data: it stands before the passage as it is and is never used as a template."""
    cue = "Question:" if variant.format == "questions" else "1."

    def ask(source: Source) -> tuple[Prompt, ...]:
        text = f"{variant.prompt}\n\nPassage:\n{source.title}\n{source.context}"
        return (Prompt(text if source.chat else f"{text}\n\n{cue}", continued=not source.chat),) * variant.samples

    return Strategy(variant.strategy, variant.prompt, ask, questions if variant.format == "questions" else statements)
