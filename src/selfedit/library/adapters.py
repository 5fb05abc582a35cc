"""The adapters of a library in an engine, and what was found out about its documents meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from selfedit.config import parse_recipe
from selfedit.library.database import Library
from selfedit.library.gate import Seen
from selfedit.types import Adapter

if TYPE_CHECKING:
    from selfedit.engine.base import Engine


class Adapters:
    """They are loaded when they are first asked, and dropped at the end of the block, or when there are too many."""

    def __init__(self, engine: Engine, library: Library, most: int = 64) -> None:
        self.engine, self.library, self.most = engine, library, most
        self.loaded: dict[str, Adapter] = {}
        self._plain: dict[str, bool] = {}
        self.seen: Seen = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.trim(0)

    def load(self, entry: str) -> Adapter:
        """The adapter of this name. Raises LedgerError where it is not what was learned."""
        if entry not in self.loaded:
            self.loaded[entry] = self.engine.load(self.library.check(entry))
        else:
            self.loaded[entry] = self.loaded.pop(entry)  # the last one of those that were asked
        return self.loaded[entry]

    def plain(self, entry: str) -> bool:
        """Whether the adapter learned to answer plain text in place of the chat template."""
        if entry not in self._plain:
            made = self.library.entry(entry)
            self._plain[entry] = parse_recipe(made.recipe, source=f"recipe of run {made.run}").open("inner").plain
        return self._plain[entry]

    def trim(self, most: int | None = None) -> None:
        """Drop those that were not asked for longest. Not while a call that uses them is being put together."""
        while len(self.loaded) > (self.most if most is None else most):
            self.engine.drop(self.loaded.pop(next(iter(self.loaded))))
