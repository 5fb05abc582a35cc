"""selfedit: a language model reads, writes its own training data, trains on it, is tested, and keeps what helped (SEAL, arXiv 2506.10943).

    import selfedit

    run = selfedit.learn("notes.md", model="smollm2-135m")
    run.table, run.candidates, run.adapters
    run.ask("Who repaired the boiler?")

Everything here is loaded when it is first used: importing selfedit loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfedit.api import Run, ask, consolidate, evaluate, learn, load_run, train
    from selfedit.config import Recipe
    from selfedit.errors import SelfeditError
    from selfedit.types import Example, Question, SelfEdit, Task

__version__ = "0.1.0"

_HOME = {
    "api": ("Run", "ask", "consolidate", "evaluate", "learn", "load_run", "train"),
    "config": ("Recipe",),
    "errors": ("SelfeditError",),
    "types": ("Example", "Question", "SelfEdit", "Task"),
}
"""The module of each public name."""

__all__ = [
    "Example",
    "Question",
    "Recipe",
    "Run",
    "SelfEdit",
    "SelfeditError",
    "Task",
    "ask",
    "consolidate",
    "evaluate",
    "learn",
    "load_run",
    "train",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"selfedit.{module}"), name)
    raise AttributeError(f"module 'selfedit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
