"""A library with its model: opened, so that questions can be put to it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selfedit.config import parse_recipe
from selfedit.errors import LedgerError
from selfedit.library.adapters import Adapters
from selfedit.library.database import Library
from selfedit.library.force import of_run
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy, title
from selfedit.store.identity import model_now
from selfedit.types import Watch


@dataclass(frozen=True)
class InForce:
    """A model with the adapters of a library."""

    policy: Policy
    adapters: Adapters

    @property
    def documents(self) -> int:
        """How many documents it has learned."""
        return self.adapters.library.size()


@contextmanager
def opened(library: Library, watch: Watch) -> Iterator[InForce]:
    """The model of a library with its adapters. Raises SelfeditError where one cannot be opened, LedgerError where the model is another one now."""
    newest = library.newest()
    recipe = parse_recipe(newest.recipe, source=f"recipe of run {newest.run}")
    with watch.stage(title(recipe)):
        policy = open_policy(recipe, say=watch.say)
        if newest.model != model_now(recipe):
            raise LedgerError(f"{recipe.model} is no longer the model that run {newest.run} learned with; restore it, or learn anew")
    with Adapters(policy.engine, library) as adapters:
        yield InForce(policy, adapters)


@contextmanager
def library_of(run: Path) -> Iterator[Library]:
    """The library that a run of `learn` made, whatever is in force. A run of version 0.1.0 has none of its own: it gets one for the time being."""
    entries = of_run(run)
    if Library(run).exists():
        yield Library(run)
        return
    with tempfile.TemporaryDirectory(prefix="selfedit-library-") as scratch:
        library = Library(Path(scratch))
        library.add(entries, note=run.name)
        yield library
