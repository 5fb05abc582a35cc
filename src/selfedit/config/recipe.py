"""The whole recipe, and what is said of one that is wrong."""

from __future__ import annotations

import difflib
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from selfedit.config.algorithms import DPO, GRPO, PPO, AlgorithmSettings, Archive, Bandit, ColdStart, Evolve, Reinforce, RestEM, Searching
from selfedit.config.base import Settings, by_type
from selfedit.config.engine import EngineSettings, TorchEngine
from selfedit.config.inner import MIXED, MOST_CHOICES, Inner, Propose
from selfedit.config.prefilter import EarlyStop, Halving, NoPrefilter, PrefilterSettings, ReliabilityStudy, Selective
from selfedit.config.questions import Documents, Evaluation, Questions
from selfedit.config.rewards import Correctness, Majority, Perplexity, RewardSettings
from selfedit.errors import ConfigError


class GuardSettings(Settings):
    """Limits an adapter has to respect to be kept."""

    max_forgetting: float = Field(2.0, gt=0)
    """Largest loss in mean log-likelihood a token, in nats, on general knowledge that no document is about."""


class Recipe(Settings):
    """A whole run. `selfedit learn --recipe FILE` and `selfedit train FILE` read one; flags of the same names override it."""

    model: str = "smollm2-135m"
    """A packaged name, a Hugging Face hub name or a folder."""
    seed: int = Field(0, ge=0)
    """Every choice left to chance follows from it."""
    docs: tuple[Path, ...] = ()
    """Documents or JSONL files with questions; paths count from the current folder. Empty: `train` and `eval --reliability` take their part of the
    bundled corpus."""
    eval_docs: tuple[Path, ...] = ()
    """For `train` and `eval`: documents the policy never learns from, on which it is measured. Empty: the held-out part of the bundled corpus."""
    limit: int = Field(0, ge=0)
    """Only the first passages, 0 for all."""
    rounds: int = Field(2, ge=1)
    """Outer rounds of `train`."""
    round_passages: int = Field(0, ge=0)
    """Passages of a round, so that each round has others until all were used; then they are shuffled anew. 0: all of them in every round."""
    chunk: int = Field(16, ge=1)
    """Candidates trained in one call and committed together, rounded to whole passages; in a comparison, documents."""
    documents: Documents = Documents()
    questions: Questions = Questions()
    propose: Propose = Propose()
    inner: Inner = Inner()
    reward: RewardSettings = Correctness()
    prefilter: PrefilterSettings = NoPrefilter()
    reliability: ReliabilityStudy = ReliabilityStudy()
    algorithm: AlgorithmSettings = RestEM()
    cold_start: ColdStart = ColdStart()
    eval: Evaluation = Evaluation()
    guards: GuardSettings = GuardSettings()
    engine: EngineSettings = TorchEngine()

    @model_validator(mode="after")
    def _algorithm_fits(self) -> Recipe:
        algorithm, K = self.algorithm, self.propose.candidates
        if isinstance(algorithm, Reinforce | PPO | GRPO | DPO | Bandit) and K < 2:
            raise ValueError(
                f"propose.candidates is {K}: algorithm {algorithm.type} learns from how the self-edits of a task compare, so from at least 2"
            )
        if isinstance(algorithm, Searching) and self.round_passages:
            raise ValueError(f"algorithm {algorithm.type} compares strategies on the same passages: round_passages has to be 0")
        if isinstance(algorithm, Evolve) and self.inner.seeds > 1:
            raise ValueError("algorithm evolve trains one LoRA for each of its population: inner.seeds has to be 1")
        return self

    @model_validator(mode="after")
    def _prefilter_fits(self) -> Recipe:
        screen, reward, algorithm = self.prefilter, self.reward, self.algorithm
        least = algorithm.keep if isinstance(algorithm, RestEM) else 1 if isinstance(algorithm, Searching) else 2  # the others compare
        if isinstance(algorithm, Evolve) and not isinstance(screen, NoPrefilter):
            raise ValueError("algorithm evolve trains whole populations: prefilter.type has to be none")
        if isinstance(algorithm, Archive) and isinstance(screen, EarlyStop):
            raise ValueError("algorithm archive tries out numbers of epochs itself: prefilter.type early_stop would overrule them")
        if isinstance(algorithm, Bandit) and isinstance(screen, Selective):
            raise ValueError(
                f"algorithm bandit needs the reward of every self-edit: prefilter.type {screen.type} leaves some out; take early_stop or none"
            )
        if isinstance(screen, Selective) and screen.keep < least:
            raise ValueError(f"prefilter.keep is {screen.keep}, too few for algorithm {algorithm.type}: it learns from at least {least} of a task")
        if isinstance(screen, Selective) and isinstance(reward, Perplexity | Majority):
            raise ValueError(f"prefilter.type {screen.type} rates by right answers, and reward {reward.type} goes by none: take early_stop or none")
        return self

    @model_validator(mode="after")
    def _picking_fits(self) -> Recipe:
        propose, algorithm = self.propose, self.algorithm
        single = len(set(propose.strategies)) == len(propose.strategies) and not any(MIXED in name for name in propose.strategies)
        if propose.mix > 1 and not (single and propose.mix <= len(propose.strategies)):
            raise ValueError(
                f"propose.mix is {propose.mix}: propose.strategies has to name as many different strategies, each once and without {MIXED}"
            )
        if len(propose.choices) > MOST_CHOICES:
            raise ValueError(f"propose.mix makes {len(propose.choices)} combinations of {len(propose.strategies)} strategies; at most {MOST_CHOICES}")
        if propose.pick == "policy" and len(set(propose.choices)) < 2:
            raise ValueError("propose.pick is policy, and there is nothing to pick from: name several in propose.strategies")
        if propose.pick == "policy" and isinstance(algorithm, Searching):
            raise ValueError(f"algorithm {algorithm.type} picks strategies itself: propose.pick has to be turns")
        if isinstance(algorithm, Archive) and any(MIXED in name for name in propose.choices):
            raise ValueError(f"algorithm archive begins with single strategies: leave out propose.mix and names with {MIXED}")
        return self


def check_learning(recipe: Recipe) -> None:
    """Refuses what would switch itself off in a run that learns; what only measures, or was begun before, is free to have it. Raises ConfigError."""
    algorithm, screen, K, epochs = recipe.algorithm, recipe.prefilter, recipe.propose.candidates, recipe.inner.epochs
    if isinstance(algorithm, RestEM) and algorithm.select == "best" and algorithm.keep > K:
        raise ConfigError(f"algorithm.keep is {algorithm.keep}, and propose.candidates {K}: of {K} self-edits no more can be kept")
    if isinstance(algorithm, DPO) and recipe.propose.pick == "turns" and len(set(recipe.propose.choices)) >= K:
        why = "algorithm dpo pairs self-edits of one strategy, so it needs more of them than strategies; or let the policy pick (propose.pick)"
        raise ConfigError(f"propose.candidates is {K}: {why}")
    if isinstance(screen, Selective) and screen.keep >= K:
        raise ConfigError(f"prefilter.keep is {screen.keep}, and propose.candidates {K}: nothing would be left out")
    if isinstance(screen, EarlyStop | Halving) and screen.longest >= epochs:
        raise ConfigError(f"prefilter.type {screen.type} trains for {screen.longest} epochs, and inner.epochs is {epochs}: that is no shorter")


UNIONS = {name: by_type(field.annotation) for name, field in Recipe.model_fields.items() if field.discriminator}
"""The keys of which one variant is chosen, with their variants by `type`."""


def load_recipe(path: Path) -> Recipe:
    """Read a TOML recipe. Raises ConfigError naming the key, and the nearest valid one where it is misspelt."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no recipe at {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return parse_recipe(values, source=str(path))


def parse_recipe(values: dict[str, Any], source: str = "recipe") -> Recipe:
    """Check the values of a recipe. Raises ConfigError, one line, for the first thing that is wrong."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from error


def _explain(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    key = ".".join(part for above, part in pairwise(("", *where)) if above not in UNIONS)  # the chosen variant is no part of a key
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if len(where) == 3 and (kinds := UNIONS.get(where[0])):
            return f"{source}: {key} is no setting of {where[1]}, which has {', '.join(kinds[where[1]].model_fields)}"
        near = difflib.get_close_matches(key, list(_known_keys(Recipe)), n=1, cutoff=0.0)
        return f"{source}: unknown key '{key}'; the nearest valid one is '{near[0]}'"
    if first["type"] == "union_tag_not_found":
        return f"{source}: {key}: say which with 'type'; there are {', '.join(UNIONS[key])}"
    if first["type"] == "model_type":
        return f"{source}: {key} is a section, [{key}], with keys of its own (got {first['input']!r})"
    got = "" if first["type"] == "value_error" else f" (got {first['input']!r})"  # our own messages say enough, and an address may hold a password
    return ": ".join(part for part in (source, key, first["msg"].removeprefix("Value error, ")) if part) + got


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of every key below a model."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(model).json_schema()
    definitions = schema.get("$defs", {})

    def walk(node: dict[str, Any], prefix: str) -> list[str]:
        names: list[str] = []
        for branch in [node, *node.get("oneOf", []), *node.get("anyOf", []), *node.get("allOf", [])]:
            target = definitions[branch["$ref"].rsplit("/", 1)[1]] if "$ref" in branch else branch
            for key, value in target.get("properties", {}).items():
                names += [prefix + key, *walk(value, f"{prefix}{key}.")]
            if "oneOf" in target and target is not node:
                names += walk(target, prefix)
        return names

    return walk(schema, prefix)
