"""`rewrite`: the passage in other wordings. The wording for base models is SEAL's (paper, appendix B)."""

from __future__ import annotations

from selfedit.strategies.base import Source, strategy
from selfedit.strategies.whole import WholePassage

REQUEST = "Let's read the following passage and rewrite it in a few different ways, each one separated by a newline."


@strategy("rewrite", means="the passage in a few other wordings")
class Rewrite(WholePassage):
    """Several versions, one a line."""

    def chat(self, source: Source) -> str:
        """SEAL's request, and that no fact may be lost."""
        return f"{REQUEST} Keep every fact.{source.passage}".rstrip()

    def base(self, source: Source) -> str:
        """SEAL's prompt."""
        return f"{REQUEST}{source.passage}Rewritten passages:\n"
