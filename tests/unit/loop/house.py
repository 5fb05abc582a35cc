"""Who watches a run in a test, and says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from selfedit.types import Progress


def nothing() -> None:
    """What happens after a stage without any ado."""


@dataclass(frozen=True)
class Silent:
    """Shows nothing; `after` is called when a stage has done its work and nothing of it is recorded."""

    after: Callable[[], None] = nothing

    @contextmanager
    def stage(self, title: str) -> Iterator[Progress]:
        """A piece of work."""
        yield lambda done, total: None
        self.after()

    def say(self, text: str) -> None:
        """One line of news."""
