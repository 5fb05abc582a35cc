"""The recipe: everything a run depends on, checked before any model loads. Imports no torch.

A recipe is a TOML file; every key has a default, unknown keys are refused with the nearest valid one, variants are unions on `type`.
"""

from __future__ import annotations

import difflib
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from selfedit.errors import ConfigError
from selfedit.types import LoraShape, Optimizer, Sampling


class Settings(BaseModel):
    """Base of every part of a recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TorchEngine(Settings):
    """The embedded engine: many LoRAs trained together over one frozen base."""

    type: Literal["torch"] = "torch"
    device: str = "auto"
    """cpu, cuda, cuda:1, ... `auto` takes the GPU where there is one."""
    dtype: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    """Of the frozen base; adapters and their optimizer are fp32. `auto`: bfloat16 where the processor is fast at it."""
    threads: int = Field(0, ge=0)
    """CPU threads, each a worker of its own in training; 0 leaves the number to torch: one for each core."""
    slots: int = Field(16, ge=1)
    """Adapters trained at the same time, by all workers together."""
    budget_tokens: int = Field(0, ge=0)
    """Tokens of one pass of a worker; 0 is 1024 on a CPU, 8192 on a GPU."""
    cache_tokens: int = Field(24576, ge=1024)
    """Tokens held in the key-value cache while sampling."""


class FakeEngine(Settings):
    """A deterministic stand-in without a model: whole runs in a second, for tests and for learning the tool."""

    type: Literal["fake"] = "fake"


EngineSettings = Annotated[TorchEngine | FakeEngine, Field(discriminator="type")]


class Propose(Settings):
    """How the policy writes self-edits."""

    strategies: tuple[str, ...] = ("sentence-qa",)
    """Taken in turn by the candidates of a task. `selfedit show strategies` lists them."""
    candidates: int = Field(3, ge=1, le=64)
    """Self-edits a task (K)."""
    sampling: Sampling = Sampling(max_tokens=256, temperature=0.7, top_p=0.95)
    """SEAL samples at temperature 1; a small writer then makes things up."""


class Inner(Settings):
    """The inner loop: one adapter trained on one self-edit."""

    lora: LoraShape = LoraShape(rank=8, alpha=16.0)
    optimizer: Optimizer = Optimizer(lr=2e-3)
    epochs: int = Field(6, ge=1)
    """Passes over a self-edit's examples."""
    batch_size: int = Field(1, ge=1)
    """Examples of one optimizer step."""
    format: Literal["chat", "plain"] = "chat"
    """How examples with a prompt are shown: in the model's chat template, or as plain text. A model without a template always takes `plain`."""
    seeds: int = Field(1, ge=1)
    """Adapters trained on each self-edit with different seeds; the reward is their mean."""


class Correctness(Settings):
    """Share of the reward questions answered correctly, by the local judge."""

    type: Literal["correctness"] = "correctness"


class Likelihood(Settings):
    """Mean gain in the log-likelihood a token of the gold answers over the current weights, in nats."""

    type: Literal["likelihood"] = "likelihood"


RewardSettings = Annotated[Correctness | Likelihood, Field(discriminator="type")]


class NoScreening(Settings):
    """Every self-edit is trained in full."""

    type: Literal["none"] = "none"


class Halving(Settings):
    """Successive halving: all are trained for a few epochs, the better half by likelihood gain for some more, until `keep` are left."""

    type: Literal["halving"] = "halving"
    keep: int = Field(2, ge=1)
    """Self-edits of a task that are then trained in full; the others get no reward."""
    rungs: tuple[int, ...] = Field((1, 2), min_length=1)
    """Epochs of each rung, ascending. A rung is a whole training from the start, with its own decay of the learning rate."""

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 1 or any(a >= b for a, b in pairwise(value)):
            raise ValueError("rungs are epochs, at least 1, each more than the one before")
        return value


class EarlyStop(Settings):
    """The reward is measured after fewer epochs; what is kept is trained in full in the end. No self-edit is left out."""

    type: Literal["early_stop"] = "early_stop"
    epochs: int = Field(2, ge=1)
    """Passes over a self-edit's examples, with their own decay of the learning rate, in place of `inner.epochs`."""


class Gradient(Settings):
    """One-step gradient alignment: the likelihood gain after one tiny step along the self-edit's gradient, from the adapter's initialisation."""

    type: Literal["gradient"] = "gradient"
    keep: int = Field(2, ge=1)
    """Self-edits of a task that are then trained in full; the others get no reward."""
    measure: Literal["cosine", "dot"] = "cosine"
    """`cosine`: the step is as long for every self-edit. `dot`: as long as its gradient."""


class InContext(Settings):
    """The likelihood of the gold answers with the self-edit's examples in the prompt, without the passage. Nothing is trained."""

    type: Literal["in_context"] = "in_context"
    keep: int = Field(2, ge=1)
    """Self-edits of a task that are then trained in full; the others get no reward."""


ScreeningSettings = Annotated[NoScreening | Halving | EarlyStop | Gradient | InContext, Field(discriminator="type")]


class Trials(Settings):
    """What `selfedit eval --reliability` measures, on `propose.candidates` self-edits of each of `limit` tasks."""

    seeds: int = Field(3, ge=2, le=12)
    """Adapters trained on each self-edit with different seeds."""
    screens: tuple[str, ...] = ("halving", "early_stop", "gradient", "in_context")
    """Screens that are compared with the full reward, with the settings of `screening` where they are its type, else with their defaults."""

    @field_validator("screens")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in SCREENS]:
            raise ValueError(f"there is no screen '{unknown[0]}'; there are: {', '.join(SCREENS)}")
        return value


SCREENS = {kind.model_fields["type"].default: kind for kind in (Halving, EarlyStop, Gradient, InContext)}
"""The screens by their type."""


class RestEM(Settings):
    """ReST-EM: SFT on the best self-edits of each task, merge, repeat (Singh et al. 2023; SEAL section 3.1)."""

    type: Literal["rest_em"] = "rest_em"
    keep: int = Field(1, ge=1)
    """Best self-edits of each task that are learned from."""
    lora: LoraShape = LoraShape(rank=64, alpha=128.0)
    optimizer: Optimizer = Optimizer(lr=3e-4)
    epochs: int = Field(2, ge=1)
    """Passes over the best self-edits of a round."""
    batch_size: int = Field(10, ge=1)
    """Prompts with their completions, of one optimizer step."""


class Questions(Settings):
    """Where the questions of a task come from and how they are divided."""

    report_share: float = Field(0.5, gt=0, lt=1)
    """Share of a task's facts whose questions are kept for the report and never used for a reward."""
    written: int = Field(8, ge=2, le=64)
    """Questions wanted for a passage that comes without any."""
    samples: int = Field(3, ge=2, le=16)
    """Independent answers, with the passage in view, that have to agree before a written question counts."""
    max_tokens: int = Field(48, ge=1)
    """Longest answer, tokens."""


class Documents(Settings):
    """How long documents are cut into passages."""

    passage_words: int = Field(150, ge=20)
    """About how many words a passage has."""
    max_bytes: int = Field(16 * 2**20, ge=1)
    """A larger file is refused."""
    max_passages: int = Field(2000, ge=1)
    """More passages are refused."""


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
    """Documents or JSONL files with questions. Empty: `train` and `eval --reliability` take their part of the bundled corpus."""
    eval_docs: tuple[Path, ...] = ()
    """For `train` and `eval`: documents the policy never learns from, on which it is measured. Empty: the held-out part of the bundled corpus."""
    limit: int = Field(0, ge=0)
    """Only the first passages, 0 for all."""
    rounds: int = Field(2, ge=1)
    """Outer rounds of `train`."""
    chunk: int = Field(16, ge=1)
    """Candidates trained in one call and committed together."""
    documents: Documents = Documents()
    questions: Questions = Questions()
    propose: Propose = Propose()
    inner: Inner = Inner()
    reward: RewardSettings = Correctness()
    screening: ScreeningSettings = NoScreening()
    trials: Trials = Trials()
    algorithm: RestEM = RestEM()
    guards: GuardSettings = GuardSettings()
    engine: EngineSettings = TorchEngine()

    @model_validator(mode="after")
    def _enough_survive(self) -> Recipe:
        if isinstance(self.screening, Halving | Gradient | InContext) and self.screening.keep < self.algorithm.keep:
            raise ValueError(f"screening.keep is {self.screening.keep}, too few for algorithm.keep = {self.algorithm.keep}: raise it")
        return self


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
    unions = {name for name, field in Recipe.model_fields.items() if field.discriminator}
    path = [str(part) for above, part in pairwise(("", *first["loc"])) if above not in unions]  # the chosen variant is no part of a key
    key = ".".join(path)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = difflib.get_close_matches(key, list(_known_keys(Recipe)), n=1, cutoff=0.0)
        return f"{source}: unknown key '{key}'; the nearest valid one is '{near[0]}'"
    message = first["msg"].removeprefix("Value error, ")
    return f"{source}: {key}: {message} (got {first['input']!r})" if key else f"{source}: {message}"


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
