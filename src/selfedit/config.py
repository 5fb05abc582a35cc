"""The recipe: everything a run depends on, checked before any model loads. Imports no torch.

A recipe is a TOML file; every key has a default, unknown keys are refused with the nearest valid one, variants are unions on `type`.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class Outer(Settings):
    """How the policy is trained on what an algorithm chose, whichever it is."""

    lora: LoraShape = LoraShape(rank=64, alpha=128.0)
    optimizer: Optimizer = Optimizer(lr=3e-4)
    epochs: int = Field(1, ge=1)
    """Passes over the self-edits of a round."""
    batch_size: int = Field(10, ge=1)
    """Self-edits (of `dpo` pairs of them, of `rest_em` prompts with their completions) of one optimizer step."""


class RestEM(Outer):
    """ReST-EM: SFT on the best self-edits of each task, merge, repeat (Singh et al. 2023; SEAL section 3.1)."""

    type: Literal["rest_em"] = "rest_em"
    select: Literal["best", "above"] = "best"
    """Learn from the best self-edits of each task, or from all whose reward is above `threshold`."""
    keep: int = Field(1, ge=1)
    """Best self-edits of each task that are learned from."""
    threshold: float = 0.0
    """With `above`: the reward a self-edit has to exceed."""
    epochs: int = Field(2, ge=1)
    """Passes over the self-edits of a round."""


class Reinforce(Outer):
    """REINFORCE with a leave-one-out baseline (RLOO: Ahmadian et al. 2024): the policy gradient itself, without a clip."""

    type: Literal["reinforce"] = "reinforce"
    kl: float = Field(0.05, ge=0)
    """Weight of the divergence from the starting policy, as a term of the loss."""


class PPO(Outer):
    """PPO (Schulman et al. 2017): several epochs under a clipped ratio, the divergence kept near a target; the group is the baseline."""

    type: Literal["ppo"] = "ppo"
    epochs: int = Field(4, ge=1)
    """Passes over the self-edits of a round."""
    clip: float = Field(0.2, gt=0, lt=1)
    """The ratio of new to old probability counts between 1 - clip and 1 + clip."""
    kl: float = Field(0.05, ge=0)
    """Weight of the divergence from the starting policy in the first round."""
    kl_target: float = Field(0.05, ge=0)
    """Divergence wanted, nats a token: after each round the weight is doubled or halved where it was missed by half; 0 keeps the weight."""


class GRPO(Outer):
    """GRPO (Shao et al. 2024): PPO's clip, advantages normalised within each group; with options for Dr. GRPO and DAPO."""

    type: Literal["grpo"] = "grpo"
    clip: float = Field(0.2, gt=0, lt=1)
    """The ratio of new to old probability counts down to 1 - clip."""
    clip_high: float = Field(0.2, gt=0)
    """And up to 1 + clip_high; DAPO takes 0.28."""
    kl: float = Field(0.04, ge=0)
    """Weight of the divergence from the starting policy."""
    scale: bool = True
    """Divide advantages by the standard deviation of the group; Dr. GRPO does not."""
    normalise: Literal["sequence", "tokens", "constant"] = "sequence"
    """A mean over self-edits of means over their tokens, a mean over all tokens (DAPO), or sums over a constant length (Dr. GRPO)."""


class DPO(Outer):
    """DPO (Rafailov et al. 2023) in on-policy rounds: the best self-edit of each task against the worst."""

    type: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held to the starting policy: larger holds more."""


class Evolve(Outer):
    """Evolution: each round several LoRAs learn the passages from self-edits, the best is merged; in the end its data fine-tune the model."""

    type: Literal["evolve"] = "evolve"
    epochs: int = Field(2, ge=1)
    """Passes over what has accumulated, in the last round."""


class Archive(Settings):
    """The Darwin Gödel Machine's search over strategies (Zhang et al. 2025): the model mutates them, all stay, `rounds` is how many it writes."""

    type: Literal["archive"] = "archive"
    steepness: float = Field(10.0, gt=0)
    """How much more likely a higher mean reward is to be a parent: λ of the sigmoid."""
    midpoint: float = 0.5
    """Mean reward at which the sigmoid is one half."""


ALGORITHMS: dict[str, type[Settings]] = {
    str(kind.model_fields["type"].default): kind for kind in (RestEM, Reinforce, PPO, GRPO, DPO, Evolve, Archive)
}
AlgorithmSettings = Annotated[RestEM | Reinforce | PPO | GRPO | DPO | Evolve | Archive, Field(discriminator="type")]


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
    """Documents or JSONL files with questions. Empty: `train` takes its part of the bundled corpus."""
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
    algorithm: AlgorithmSettings = RestEM()
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


_VARIANTS: dict[str, type[Settings]] = {"torch": TorchEngine, "fake": FakeEngine, **ALGORITHMS}


def _explain(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"] if part not in _VARIANTS]
    key = ".".join(path)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if variant := _VARIANTS.get(str(first["loc"][-2])) if len(first["loc"]) > 1 else None:
            return f"{source}: {key} is no setting of {first['loc'][-2]}, which has {', '.join(variant.model_fields)}"
        near = difflib.get_close_matches(key, list(_known_keys(Recipe)), n=1, cutoff=0.0)
        return f"{source}: unknown key '{key}'; the nearest valid one is '{near[0]}'"
    return f"{source}: {key}: {first['msg']} (got {first['input']!r})"


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
