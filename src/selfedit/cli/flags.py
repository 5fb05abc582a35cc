"""The recipe as flags of the command line: `--inner.lora.rank 8`, `--engine fake`. Unions become one set of flags whose `type` chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, model_validator
from tyro.conf import Suppress, arg

from selfedit.config import (
    ColdStart,
    EarlyStop,
    EngineSettings,
    Evaluation,
    Gradient,
    Halving,
    Judge,
    Majority,
    Mix,
    Perplexity,
    PythonFunction,
    Recipe,
    RewardSettings,
    ScreeningSettings,
    TorchEngine,
    Trials,
    parse_recipe,
)
from selfedit.errors import ConfigError


class EngineFlags(TorchEngine):
    """What the model runs in."""

    type: Annotated[Literal["torch", "fake"], arg(aliases=["--engine"])] = "torch"  # type: ignore[assignment]
    """`fake` needs no model: for tests, and to learn the tool. It has no further settings."""


RewardType = Literal["correctness", "likelihood", "mix", "perplexity", "majority", "judge", "python"]


class RewardFlags(PythonFunction, Judge, Majority, Perplexity, Mix):
    """What a self-edit is worth: `selfedit show rewards`, docs/rewards.md."""

    type: Annotated[RewardType, arg(aliases=["--reward"])] = "correctness"  # type: ignore[assignment]
    """The share of questions answered correctly, the gain in the log-likelihood of the right answers, or another one."""


class ScreeningFlags(Gradient, EarlyStop, Halving):
    """What rates self-edits before they are trained in full: docs/reliability.md."""

    type: Annotated[Literal["none", "halving", "early_stop", "gradient", "in_context"], arg(aliases=["--screening"])] = "none"  # type: ignore[assignment]
    """Successive halving, a reward after fewer epochs, one-step gradient alignment, the self-edit in the prompt, or nothing."""


UNIONS: dict[str, Any] = {"engine": EngineSettings, "reward": RewardSettings, "screening": ScreeningSettings}
"""Settings of which one variant is chosen."""


class AnyRecipe(Recipe):
    """Settings of a run."""

    engine: EngineFlags = EngineFlags()
    reward: RewardFlags = RewardFlags()
    """What a self-edit is worth."""
    screening: ScreeningFlags = ScreeningFlags()
    """What rates self-edits before they are trained in full."""

    @model_validator(mode="after")
    def _screening_fits(self) -> AnyRecipe:
        return self  # flags stand for every variant at once: as_recipe checks those that were chosen


class LearnRecipe(AnyRecipe):
    """Settings of a run that learns documents."""

    docs: Suppress[tuple[Path, ...]] = ()
    eval_docs: Suppress[tuple[Path, ...]] = ()
    rounds: Suppress[int] = 2
    cold_start: Suppress[ColdStart] = ColdStart()
    eval: Suppress[Evaluation] = Evaluation()
    trials: Suppress[Trials] = Trials()


class EvalRecipe(AnyRecipe):
    """Settings of a run that measures."""

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
    """The recipe that flags say. Raises ConfigError for settings of a variant that was not chosen."""
    chosen = {name: _chosen(name, getattr(flags, name), union) for name, union in UNIONS.items()}
    return parse_recipe(flags.model_dump(exclude=set(chosen)) | chosen, source="recipe")


def _chosen(name: str, flags: Any, union: Any) -> dict[str, Any]:
    """The settings of the chosen variant of a union."""
    variants = {variant.model_fields["type"].default: variant.model_fields for variant in get_args(get_args(union)[0])}
    own = variants[flags.type]
    for key in flags.model_dump(exclude_defaults=True):
        if key not in own:
            whose = next(kind for kind, keys in variants.items() if key in keys)
            raise ConfigError(f"--{name}.{key.replace('_', '-')} is a setting of the {whose} {name}, not of the {flags.type} one; leave it out")
    values: dict[str, Any] = flags.model_dump(include=set(own))
    return values
