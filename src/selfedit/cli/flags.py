"""The recipe as flags of the command line: `--inner.lora.rank 8`, `--engine fake`. Unions become one set of flags whose `type` chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from tyro.conf import Suppress, arg

from selfedit.config import SCREENS, EarlyStop, Gradient, Halving, Recipe, Settings, TorchEngine, Trials, parse_recipe
from selfedit.errors import ConfigError


class EngineFlags(TorchEngine):
    """What the model runs in."""

    type: Annotated[Literal["torch", "fake"], arg(aliases=["--engine"])] = "torch"  # type: ignore[assignment]
    """`fake` needs no model: for tests, and to learn the tool. It has no further settings."""


class RewardFlags(Settings):
    """What a self-edit is worth."""

    type: Annotated[Literal["likelihood", "correctness"], arg(aliases=["--reward"])] = "correctness"
    """The share of questions answered correctly, or the gain in the log-likelihood of the right answers."""


class ScreeningFlags(Settings):
    """What rates self-edits before they are trained in full."""

    type: Annotated[Literal["none", "halving", "early_stop", "gradient", "in_context"], arg(aliases=["--screening"])] = "none"
    """Successive halving, a reward after fewer epochs, one-step gradient alignment, the self-edit in the prompt, or nothing."""
    keep: int = Halving().keep
    """Self-edits of a task that are then trained in full. (halving, gradient, in_context)"""
    rungs: tuple[int, ...] = Halving().rungs
    """Epochs of each rung, ascending. (halving)"""
    epochs: int = EarlyStop().epochs
    """Passes over a self-edit's examples in place of `inner.epochs`. (early_stop)"""
    measure: Literal["cosine", "dot"] = Gradient().measure
    """Whether every step is as long, or as long as its gradient. (gradient)"""


class AnyRecipe(Recipe):
    """Settings of a run."""

    engine: EngineFlags = EngineFlags()
    reward: RewardFlags = RewardFlags()  # type: ignore[assignment]
    """What a self-edit is worth."""
    screening: ScreeningFlags = ScreeningFlags()  # type: ignore[assignment]
    """What rates self-edits before they are trained in full."""


class LearnRecipe(AnyRecipe):
    """Settings of a run that learns documents."""

    docs: Suppress[tuple[Path, ...]] = ()
    eval_docs: Suppress[tuple[Path, ...]] = ()
    rounds: Suppress[int] = 2
    trials: Suppress[Trials] = Trials()


class EvalRecipe(AnyRecipe):
    """Settings of a run that measures."""

    rounds: Suppress[int] = 2


def as_flags(kind: type[AnyRecipe], recipe: Recipe) -> Any:
    """A recipe as the defaults of flags."""
    return kind.model_construct(**{name: _part(kind, name, getattr(recipe, name)) for name in Recipe.model_fields})


def _part(kind: type[AnyRecipe], name: str, value: Any) -> Any:
    flags = kind.model_fields[name].annotation
    if isinstance(value, BaseModel) and isinstance(flags, type) and not isinstance(value, flags):
        return flags.model_validate(value.model_dump())
    return value


def as_recipe(flags: AnyRecipe) -> Recipe:
    """The recipe that flags say. Raises ConfigError for settings of an engine that was not chosen."""
    values = flags.model_dump()
    if flags.engine.type == "fake":
        if changed := [key for key in flags.engine.model_dump(exclude_defaults=True) if key != "type"]:
            raise ConfigError(f"--engine.{changed[0].replace('_', '-')} is a setting of the torch engine, not of the fake one; leave it out")
        values["engine"] = {"type": "fake"}
    values["screening"] = _screening(flags.screening)
    return parse_recipe(values, source="recipe")


def _screening(flags: ScreeningFlags) -> dict[str, Any]:
    """The settings of the screen that was chosen. Raises ConfigError for those of another."""
    known = SCREENS[flags.type].model_fields if flags.type != "none" else {"type"}
    if others := [key for key in flags.model_dump(exclude_defaults=True) if key not in known]:
        raise ConfigError(f"--screening.{others[0]} is no setting of --screening {flags.type}; leave it out")
    return {key: value for key, value in flags.model_dump().items() if key in known}
