"""`key-facts`: the facts of the passage, one short sentence each."""

from __future__ import annotations

from selfedit.strategies.base import EXAMPLE, STANDALONE, Source, strategy
from selfedit.strategies.demonstrations import numbered_statements
from selfedit.strategies.whole import WholePassage
from selfedit.types import Passage, Turn

SHOWN = """Facts:
1. Tolmet Weir was raised in 1847.
2. The miller Hedda Ruskin raised Tolmet Weir.
3. Tolmet Weir crosses the Isk Brook.
4. Tolmet Weir is 38 metres long.
5. Tolmet Weir is built of grey slate."""


@strategy("key-facts", means="the facts of the passage, one short sentence each")
class KeyFacts(WholePassage):
    """A numbered list."""

    def chat(self, source: Source) -> str:
        """The request, and the form of the answer."""
        return f"List the key facts of the following passage. {STANDALONE} State one fact in each.{source.passage}".rstrip()

    def base(self, source: Source) -> str:
        """An example, and the passage up to where its first fact begins."""
        return f"The facts of each passage, one a line.\n\n{EXAMPLE}{SHOWN}{source.passage}Facts:\n1."

    def demonstrations(self, passage: Passage, source: Source) -> list[Turn]:
        """A sentence for each fact that a question asks for."""
        return numbered_statements(passage, self.ask(source)[0])
