"""`cloze`: nothing is written; the passage's own sentences, each with a name, a number or a phrase left blank, are answered with what is missing.

Blanks are as right as the passage is, where a small writer's questions are often wrong, and teach that a short answer is wanted (so are readers
pretrained by Dhingra et al. 2018, arXiv 1804.00720).
"""

from __future__ import annotations

from pydantic import Field

from selfedit.parts import Settings
from selfedit.strategies.base import Source, Strategy, strategy
from selfedit.strategies.parsing import Draft, Parsed, nothing
from selfedit.strategies.spans import spans
from selfedit.text import ask
from selfedit.types import Example, Prompt

BLANK = "____"


class ClozeSettings(Settings):
    """Settings of `cloze`."""

    blanks: int = Field(15, ge=1, le=60)
    """Most blanks of a passage; which ones differs between self-edits."""


@strategy("cloze", means="sentences of the passage with a blank, answered with what is missing; nothing is written", settings=ClozeSettings)
class Cloze(Strategy):
    """Every sentence has a blank before any has two."""

    form = "questions"
    at_once = False

    def ask(self, source: Source) -> tuple[Prompt, ...]:
        """Nothing is asked."""
        return ()

    def parse(self, draft: Draft) -> Parsed:
        """The blanks that the seed chose. Whatever was written is left out."""
        found = spans(draft.title, draft.context, self.settings.blanks, draft.seed)
        examples = [Example(span.answer, prompt=ask(draft.title, span.sentence.replace(span.answer, BLANK, 1))) for span in found]
        return Parsed(tuple(examples), nothing(draft).dropped)
