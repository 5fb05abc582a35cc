"""The recipe as flags of the command line: `--inner.lora.rank 8`, `--engine fake`. Unions become one set of flags whose `type` chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from tyro.conf import Suppress, arg

from selfedit.config import ColdStart, Evaluation, Recipe, Settings, TorchEngine, parse_recipe
from selfedit.errors import ConfigError


class EngineFlags(TorchEngine):
    """What the model runs in."""

    type: Annotated[Literal["torch", "fake"], arg(aliases=["--engine"])] = "torch"  # type: ignore[assignment]
    """`fake` needs no model: for tests, and to learn the tool. It has no further settings."""


class RewardFlags(Settings):
    """What a self-edit is worth."""

    type: Annotated[Literal["likelihood", "correctness"], arg(aliases=["--reward"])] = "correctness"
    """The share of questions answered correctly, or the gain in the log-likelihood of the right answers."""


class AnyRecipe(Recipe):
    """Settings of a run."""

    engine: EngineFlags = EngineFlags()
    reward: RewardFlags = RewardFlags()  # type: ignore[assignment]
    """What a self-edit is worth."""


class LearnRecipe(AnyRecipe):
    """Settings of a run that learns documents."""

    docs: Suppress[tuple[Path, ...]] = ()
    eval_docs: Suppress[tuple[Path, ...]] = ()
    rounds: Suppress[int] = 2
    cold_start: Suppress[ColdStart] = ColdStart()
    eval: Suppress[Evaluation] = Evaluation()


class EvalRecipe(AnyRecipe):
    """Settings of a run that measures."""

    docs: Suppress[tuple[Path, ...]] = ()
    rounds: Suppress[int] = 2
    cold_start: Suppress[ColdStart] = ColdStart()


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
    return parse_recipe(values, source="recipe")
