"""The recipe: everything a run depends on, checked before any model loads. Imports no torch.

A recipe is a TOML file; every key has a default, unknown keys are refused with the nearest valid one, variants are unions on `type`.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

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


class ColdStart(Settings):
    """Before the first round of `train`: SFT of the policy on good self-edits, for models that write too badly to begin with."""

    enabled: bool = False
    """Show the policy good self-edits first. It has a row of its own in the table."""
    examples: tuple[Path, ...] = ()
    """JSONL files with title, context and either the completion to learn (`strategy` says for which) or questions with answers. Empty: passages of
    the training part of the bundled corpus."""
    passages: int = Field(12, ge=1)
    """Passages of the bundled corpus that are shown; the rounds do without them."""
    lora: LoraShape = LoraShape(rank=64, alpha=128.0)
    optimizer: Optimizer = Optimizer(lr=3e-4)
    epochs: int = Field(2, ge=1)
    """Passes over the good self-edits."""
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


ARMS = ("base", "passage_only", "token_matched", "untrained", "random_edit", "best_of_k", "all_edits", "more_edits", "oracle")
"""What `eval.arms` may name. Arms of a policy that was taught or trained are in the table by themselves."""


class Evaluation(Settings):
    """The comparison at the end of `train` and `eval`, on documents that nobody learned from."""

    arms: tuple[str, ...] = ("base", "passage_only", "token_matched", "untrained", "oracle")
    """What stands beside the policy; docs/comparisons.md describes each. Left out here, because they cost more: `best_of_k` (K adapters for each
    document and seed), `all_edits` (one as long as K), `more_edits` and `random_edit` (one each)."""
    seeds: int = Field(1, ge=1)
    """How often every arm is trained, with self-edits and adapters of its own each time. Arms are paired by seed."""

    @field_validator("arms")
    @classmethod
    def _known(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        for arm in arms:
            if arm not in ARMS:
                near = difflib.get_close_matches(arm, ARMS, n=1, cutoff=0.0)[0]
                raise ValueError(f"there is no arm '{arm}'; the nearest is '{near}' (there are: {', '.join(ARMS)})")
        return arms


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
    """Documents or JSONL files with questions. Empty: `train` takes its part of the bundled corpus."""
    eval_docs: tuple[Path, ...] = ()
    """For `train` and `eval`: documents the policy never learns from, on which it is measured. Empty: the held-out part of the bundled corpus."""
    limit: int = Field(0, ge=0)
    """Only the first passages, 0 for all."""
    rounds: int = Field(2, ge=1)
    """Outer rounds of `train`."""
    chunk: int = Field(16, ge=1)
    """Candidates trained in one call and committed together; in a comparison, documents."""
    documents: Documents = Documents()
    questions: Questions = Questions()
    propose: Propose = Propose()
    inner: Inner = Inner()
    reward: RewardSettings = Correctness()
    algorithm: RestEM = RestEM()
    cold_start: ColdStart = ColdStart()
    eval: Evaluation = Evaluation()
    guards: GuardSettings = GuardSettings()
    engine: EngineSettings = TorchEngine()


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
    path = [str(part) for part in first["loc"] if part not in ("torch", "fake")]
    key = ".".join(path)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = difflib.get_close_matches(key, list(_known_keys(Recipe)), n=1, cutoff=0.0)
        return f"{source}: unknown key '{key}'; the nearest valid one is '{near[0]}'"
    return f"{source}: {key}: {first['msg'].removeprefix('Value error, ')} (got {first['input']!r})"


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
