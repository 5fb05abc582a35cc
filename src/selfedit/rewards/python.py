"""A reward of your own: any Python function that can be imported."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from selfedit.errors import ConfigError
from selfedit.parts import Settings
from selfedit.rewards.base import Measured, Needs, RewardFunction, checked, reward
from selfedit.types import Answer, Reward, SelfEdit, Task

Function = Callable[[Task, SelfEdit, Sequence[Answer], Sequence[Answer]], float | None]
"""(task, edit, answers, base_answers) -> reward, or None where it cannot tell. The task comes without its report questions; answers are those of
all inner seeds to the reward questions, base_answers the current weights' own."""


class PythonSettings(Settings):
    """Settings of `python`."""

    function: str = ""
    """Where it is imported from, as in `package.module:function`. It is called with (task, edit, answers, base_answers), see docs/rewards.md."""


@reward("python", means="what a function of yours returned", settings=PythonSettings)
class Python(RewardFunction):
    """What a Python function says of one candidate; unscored where it fails, says None, or says anything but a finite number."""

    def needs(self) -> Needs:
        """Greedy answers; whether right ones are known is the function's business."""
        return Needs(answers=True)

    def one(self, measured: Measured) -> Reward:
        """One call of the function."""
        function, m = find(self.settings), measured
        return checked("python", self.settings.function, lambda: function(replace(m.task, report_questions=()), m.edit, m.answers, m.base_answers))

    def depends_on(self) -> dict[str, str]:
        """The function's file."""
        return {"function": self.settings.function, "sha256": fingerprint(self.settings)}


def find(settings: PythonSettings) -> Function:
    """Import the function. Raises ConfigError where it cannot be, or takes something else."""
    module, _, name = settings.function.partition(":")
    if not module or not name.isidentifier():
        raise ConfigError(f"reward.function: write package.module:function, not '{settings.function}'")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module may fail in any way while it is imported
        where = "it has to be installed, or stand below a folder in PYTHONPATH"
        raise ConfigError(f"reward.function: '{settings.function}' cannot be imported ({type(error).__name__}: {error}); {where}") from error
    if not inspect.isfunction(function):
        raise ConfigError(f"reward.function: '{settings.function}' is no Python function")
    try:
        inspect.signature(function).bind(None, None, (), ())
    except TypeError as error:
        wanted = "(task, edit, answers, base_answers)"
        raise ConfigError(f"reward.function: '{settings.function}' has to take {wanted}; it takes {inspect.signature(function)}") from error
    found: Function = function
    return found


def fingerprint(settings: PythonSettings) -> str:
    """SHA-256, hex, of the file that the function stands in."""
    return hashlib.sha256(Path(inspect.getfile(inspect.unwrap(find(settings)))).read_bytes()).hexdigest()
