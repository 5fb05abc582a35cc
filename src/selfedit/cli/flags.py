"""The recipe as flags of the command line: `--inner.lora.rank 8`, `--engine fake`. Unions become one set of flags whose `type` chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, model_validator
from tyro.conf import Suppress, arg

from selfedit.config import (
    UNIONS,
    ColdStart,
    EarlyStop,
    Evaluation,
    Gradient,
    Halving,
    Judge,
    Majority,
    Mix,
    Outer,
    Perplexity,
    PythonFunction,
    Recipe,
    ReliabilityStudy,
    TorchEngine,
    parse_recipe,
)
from selfedit.errors import ConfigError

Whole = Annotated[int | None, arg(metavar="INT", help_behavior_hint="")]
Number = Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")]
Truth = Annotated[bool | None, arg(metavar="{True,False}", help_behavior_hint="")]
AlgorithmName = Literal["rest_em", "reinforce", "ppo", "grpo", "dpo", "evolve", "archive", "bandit"]


class EngineFlags(TorchEngine):
    """What the model runs in."""

    type: Annotated[Literal["torch", "fake"], arg(aliases=["--engine"])] = "torch"  # type: ignore[assignment]
    """`fake` needs no model: for tests, and to learn the tool. It has no further settings."""


RewardType = Literal["correctness", "likelihood", "choice", "mix", "perplexity", "majority", "judge", "python"]


class RewardFlags(PythonFunction, Judge, Majority, Perplexity, Mix):
    """What a self-edit is worth: `selfedit show rewards`, docs/rewards.md."""

    type: Annotated[RewardType, arg(aliases=["--reward"])] = "correctness"  # type: ignore[assignment]
    """The share of questions answered correctly, the gain in the log-likelihood of the right answers, or another one."""


class PrefilterFlags(Gradient, EarlyStop, Halving):
    """What rates self-edits before they are trained in full: docs/reliability.md."""

    type: Annotated[Literal["none", "halving", "early_stop", "gradient", "in_context"], arg(aliases=["--prefilter"])] = "none"  # type: ignore[assignment]
    """Successive halving, a reward after fewer epochs, one-step gradient alignment, the self-edit in the prompt, or nothing."""


class AlgorithmFlags(Outer):
    """How the policy learns from rewards. `selfedit show algorithms` lists the algorithms; a setting that is left out is the algorithm's own."""

    type: Annotated[AlgorithmName, arg(aliases=["--algorithm"])] = "rest_em"
    """Which one."""
    epochs: Whole = None  # type: ignore[assignment]
    """Passes over the self-edits of a round."""
    select: Annotated[Literal["best", "above"] | None, arg(metavar="{best,above}", help_behavior_hint="")] = None
    """rest_em: learn from the best self-edits of each task, or from all whose reward is above `threshold`."""
    keep: Whole = None
    """rest_em: best self-edits of each task that are learned from."""
    threshold: Number = None
    """rest_em, with `above`: the reward a self-edit has to exceed."""
    restart: Truth = None
    """rest_em: teach the starting policy anew after every round, so that it cannot drift."""
    kl: Number = None
    """reinforce, ppo, grpo: weight of the divergence from the starting policy."""
    kl_target: Number = None
    """ppo: divergence wanted, nats a token; 0 keeps the weight as it is."""
    clip: Number = None
    """ppo, grpo: the ratio of new to old probability counts down to 1 - clip."""
    clip_high: Number = None
    """grpo: and up to 1 + clip_high."""
    scale: Truth = None
    """grpo: divide advantages by the standard deviation of the group."""
    normalise: Annotated[Literal["sequence", "tokens", "constant"] | None, arg(metavar="{sequence,tokens,constant}", help_behavior_hint="")] = None
    """grpo: a mean over self-edits, over all tokens, or sums over a constant length."""
    beta: Number = None
    """dpo: how strongly the policy is held to the starting policy."""
    steepness: Number = None
    """archive: how much more likely a higher mean reward is to be a parent."""
    midpoint: Number = None
    """archive: mean reward at which the sigmoid is one half."""
    rule: Annotated[Literal["thompson", "ucb1"] | None, arg(metavar="{thompson,ucb1}", help_behavior_hint="")] = None
    """bandit: Thompson sampling, or upper confidence bounds."""


class AnyRecipe(Recipe):
    """Settings of a run."""

    algorithm: AlgorithmFlags = AlgorithmFlags()  # type: ignore[assignment]
    """How the policy learns from rewards. `selfedit show algorithms` lists the algorithms; a setting that is left out is the algorithm's own."""
    engine: EngineFlags = EngineFlags()
    reward: RewardFlags = RewardFlags()
    """What a self-edit is worth."""
    prefilter: PrefilterFlags = PrefilterFlags()
    """What rates self-edits before they are trained in full."""

    @model_validator(mode="after")
    def _prefilter_fits(self) -> AnyRecipe:
        return self  # flags stand for every variant at once: as_recipe checks those that were chosen

    @model_validator(mode="after")
    def _picking_fits(self) -> AnyRecipe:
        return self


class LearnRecipe(AnyRecipe):
    """Settings of a run that learns documents."""

    docs: Suppress[tuple[Path, ...]] = ()
    eval_docs: Suppress[tuple[Path, ...]] = ()
    rounds: Suppress[int] = 2
    round_passages: Suppress[int] = 0
    cold_start: Suppress[ColdStart] = ColdStart()
    eval: Suppress[Evaluation] = Evaluation()
    reliability: Suppress[ReliabilityStudy] = ReliabilityStudy()


class EvalRecipe(AnyRecipe):
    """Settings of a run that measures."""

    rounds: Suppress[int] = 2
    round_passages: Suppress[int] = 0
    cold_start: Suppress[ColdStart] = ColdStart()


def as_flags(kind: type[AnyRecipe], recipe: Recipe) -> Any:
    """A recipe as the defaults of flags."""
    return kind.model_construct(**{name: _part(kind, name, getattr(recipe, name)) for name in Recipe.model_fields})


def _part(kind: type[AnyRecipe], name: str, value: Any) -> Any:
    flags = kind.model_fields[name].annotation
    if isinstance(value, BaseModel) and isinstance(flags, type) and not isinstance(value, flags):
        return flags.model_validate(value.model_dump(include={"type"}) | value.model_dump(exclude_defaults=True))
    return value


def as_recipe(flags: AnyRecipe) -> Recipe:
    """The recipe that flags say. Raises ConfigError for settings of a variant that was not chosen."""
    chosen = {name: _chosen(name, getattr(flags, name)) for name in UNIONS}
    return parse_recipe(flags.model_dump(exclude=set(chosen)) | chosen, source="recipe")


def _chosen(name: str, flags: Any) -> dict[str, Any]:
    """The settings of the chosen variant of a union; those that are None are left to its defaults."""
    kinds = {kind: variant.model_fields for kind, variant in UNIONS[name].items()}
    own = kinds[flags.type]
    for key in flags.model_dump(exclude_defaults=True):
        if key not in own:
            whose = next(kind for kind, keys in kinds.items() if key in keys)
            raise ConfigError(f"--{name}.{key.replace('_', '-')} is a setting of the {whose} {name}, not of the {flags.type} one; leave it out")
    values: dict[str, Any] = flags.model_dump(include=set(own), exclude_none=True)
    return values
