"""`implications` and its longer variants: what follows from the passage. The wording is SEAL's (released data; paper, appendix B)."""

from __future__ import annotations

from selfedit.strategies.base import STANDALONE, Source, strategy
from selfedit.strategies.demonstrations import numbered_statements
from selfedit.strategies.whole import WholePassage
from selfedit.types import Passage, Turn


class Implications(WholePassage):
    """A list of implications, a sentence a line."""

    amount = "list"

    @property
    def request(self) -> str:
        """SEAL's request, for `list`, `long list` or `very long list`."""
        return f"Let's read the following passage and produce a {self.amount} of implications derived directly or indirectly from the content."

    def chat(self, source: Source) -> str:
        """The request with the form that is wanted."""
        return f"{self.request} {STANDALONE}{source.passage}".rstrip()

    def base(self, source: Source) -> str:
        """SEAL's prompt."""
        return f"{self.request}{source.passage}Implications:\n"

    def demonstrations(self, passage: Passage, source: Source) -> list[Turn]:
        """A sentence for each fact that a question asks for."""
        return numbered_statements(passage, self.ask(source)[0])


@strategy("implications", means="a list of what follows from the passage, a sentence a line")
class List(Implications):
    """A list."""


@strategy("implications-long", means="a long list of what follows from the passage, a sentence a line")
class LongList(Implications):
    """A long list."""

    amount = "long list"


@strategy("implications-very-long", means="a very long list of what follows from the passage, a sentence a line")
class VeryLongList(Implications):
    """A very long list."""

    amount = "very long list"
