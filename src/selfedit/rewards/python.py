"""A reward of your own: any Python function that can be imported."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path

from selfedit.config import PythonFunction
from selfedit.errors import ConfigError, SelfeditError
from selfedit.rewards.base import Measured
from selfedit.types import Answer, Reward, SelfEdit, Task

Function = Callable[[Task, SelfEdit, Sequence[Answer], Sequence[Answer]], float | None]
"""(task, edit, answers, base_answers) -> reward, or None where it cannot tell. The task comes without its report questions; answers are those of
all inner seeds to the reward questions, base_answers the current weights' own."""


def find(settings: PythonFunction) -> Function:
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


def fingerprint(settings: PythonFunction) -> str:
    """SHA-256, hex, of the file that the function stands in."""
    return hashlib.sha256(Path(inspect.getfile(inspect.unwrap(find(settings)))).read_bytes()).hexdigest()


def python(settings: PythonFunction, function: Function, m: Measured) -> Reward:
    """What the function says of one candidate; unscored where it fails, says None, or says anything but a finite number."""
    try:
        value: object = function(replace(m.task, report_questions=()), m.edit, m.answers, m.base_answers)
    except SelfeditError:
        raise
    except Exception as error:
        return Reward(None, "python", f"{settings.function} failed: {type(error).__name__}: {error}"[:500])
    if value is None:
        return Reward(None, "python", f"{settings.function} gave no reward")
    if not isinstance(value, Real) or not math.isfinite(value):
        return Reward(None, "python", f"{settings.function} gave {value!r:.100}, not a finite number")
    return Reward(float(value), "python")
