"""`implications` and its longer variants: what follows from the passage. The wording is SEAL's (released data; paper, appendix B)."""

from __future__ import annotations

from selfedit.strategies.base import STANDALONE, Source, strategy
from selfedit.strategies.demonstrations import numbered_statements
from selfedit.strategies.whole import WholePassage
from selfedit.types import Passage, Turn


class Implications(WholePassage):
    """A list of implications, a sentence a line."""

    @property
    def request(self) -> str:
        """SEAL's request, for a `list`, `long list` or `very long list`, as the strategy is called."""
        amount = " ".join([*self.name.split("-")[1:], "list"])
        return f"Let's read the following passage and produce a {amount} of implications derived directly or indirectly from the content."

    def chat(self, source: Source) -> str:
        """The request with the form that is wanted."""
        return f"{self.request} {STANDALONE}{source.passage}".rstrip()

    def base(self, source: Source) -> str:
        """SEAL's prompt."""
        return f"{self.request}{source.passage}Implications:\n"

    def demonstrations(self, passage: Passage, source: Source) -> list[Turn]:
        """A sentence for each fact that a question asks for."""
        return numbered_statements(passage, self.ask(source)[0])


for _amount in ("list", "long list", "very long list"):
    _name = "-".join(["implications", *_amount.split()[:-1]])
    strategy(_name, means=f"a {_amount} of what follows from the passage, a sentence a line")(Implications)
