"""The recipe: everything a run depends on, checked before any model loads. Imports no torch.

A recipe is a TOML file; every key has a default, unknown keys are refused with the nearest valid one, variants are unions on `type`.
"""

from __future__ import annotations

import difflib
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

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
    """Adapters trained on each self-edit with different seeds, the same ones for all self-edits of a passage; the reward is their mean."""


def by_type(union: Any) -> dict[str, type[Settings]]:
    """The variants of a union by their `type`."""
    kinds = get_args(get_args(union)[0]) or get_args(union)
    return {str(kind.model_fields["type"].default): kind for kind in kinds}


class Correctness(Settings):
    """Share of the reward questions answered correctly, by the local judge."""

    type: Literal["correctness"] = "correctness"


class Likelihood(Settings):
    """Mean gain in the log-likelihood a token of the gold answers over the current weights, in nats."""

    type: Literal["likelihood"] = "likelihood"


class Mix(Settings):
    """Correctness and likelihood gain together: `correctness` times the share of correct answers, plus `likelihood` times the gain over `nats`."""

    type: Literal["mix"] = "mix"
    correctness: float = Field(0.5, ge=0)
    """Weight of the share of correct answers, which goes from 0 to 1."""
    likelihood: float = Field(0.5, ge=0)
    """Weight of the gain in log-likelihood."""
    nats: float = Field(1.0, gt=0)
    """The gain a token that counts as much as all answers being correct."""


class Perplexity(Settings):
    """Gain in the log-likelihood a token, in nats, of sentences of the passage that the adapter was not trained on. Needs no questions."""

    type: Literal["perplexity"] = "perplexity"
    withheld: float = Field(0.3, gt=0, lt=1)
    """Share of a passage's sentences that are withheld from training while self-edits are compared, with all that quotes them."""
    quote_words: int = Field(6, ge=2)
    """So many words of a withheld sentence in a row are a quotation."""


class Majority(Settings):
    """Agreement with the majority of all answers that the adapters of a group give. Needs questions, and no right answers (SRT, TTRL, MM-UPT)."""

    type: Literal["majority"] = "majority"
    samples: int = Field(8, ge=2, le=256)
    """Answers that each adapter gives to each question."""
    temperature: float = Field(0.7, gt=0)
    """At which they are drawn."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Least share of a question's readable answers that is a majority. Below it, and in a tie, the question does not count."""
    max_words: int = Field(30, ge=1)
    """A longer answer cannot be read as one: it has no vote."""


class Judge(Settings):
    """Share of the reward questions answered correctly, as a language model judges behind an OpenAI-compatible address. Needs `selfedit[judge]`."""

    type: Literal["judge"] = "judge"
    model: str = ""
    """The judge, by the name the server knows it by."""
    base_url: str = "https://api.openai.com/v1"
    """Where it is asked, http or https."""
    key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; the key itself is never written down. Empty: the server wants none."""
    timeout_s: float = Field(30.0, gt=0)
    """Of one request."""
    retries: int = Field(4, ge=0, le=20)
    """After a timeout, a broken connection, or a server that is busy or in trouble; ever longer waits between them."""
    concurrency: int = Field(8, ge=1, le=256)
    """Requests at the same time."""

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("an address begins with http:// or https://")
        if "@" in url.netloc or url.query or url.fragment:
            raise ValueError(
                "an address is recorded in the ledger: leave out user, password and everything after ?; name the key's variable in key_env"
            )
        return value


class PythonFunction(Settings):
    """What a Python function of yours returns."""

    type: Literal["python"] = "python"
    function: str = ""
    """Where it is imported from, as in `package.module:function`. It is called with (task, edit, answers, base_answers), see docs/rewards.md."""


RewardSettings = Annotated[Correctness | Likelihood | Mix | Perplexity | Majority | Judge | PythonFunction, Field(discriminator="type")]


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


Selective = Halving | Gradient | InContext
"""Screens that leave self-edits out; they rate by the right answers to the reward questions."""
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


class Outer(Settings):
    """How the policy is trained, whatever it learns from."""

    lora: LoraShape = LoraShape(rank=64, alpha=128.0)
    optimizer: Optimizer = Optimizer(lr=3e-4)
    epochs: int = Field(1, ge=1)
    """Passes over the self-edits of a round."""
    batch_size: int = Field(10, ge=1)
    """Self-edits (of `dpo` pairs of them; of `rest_em` and a cold start prompts with their completions) of one optimizer step."""


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


AlgorithmSettings = Annotated[RestEM | Reinforce | PPO | GRPO | DPO | Evolve | Archive, Field(discriminator="type")]


class ColdStart(Outer):
    """Before the first round of `train`: SFT of the policy on good self-edits, for models that write too badly to begin with."""

    enabled: bool = False
    """Show the policy good self-edits first. It has a row of its own in the table."""
    examples: tuple[Path, ...] = ()
    """JSONL files with title, context and either the completion to learn (`strategy` says for which) or questions with answers. Empty: passages of
    the training part of the bundled corpus."""
    passages: int = Field(12, ge=1)
    """Passages of the bundled corpus that are shown; the rounds do without them."""
    epochs: int = Field(2, ge=1)
    """Passes over the good self-edits."""


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
    """Documents or JSONL files with questions. Empty: `train` and `eval --reliability` take their part of the bundled corpus."""
    eval_docs: tuple[Path, ...] = ()
    """For `train` and `eval`: documents the policy never learns from, on which it is measured. Empty: the held-out part of the bundled corpus."""
    limit: int = Field(0, ge=0)
    """Only the first passages, 0 for all."""
    rounds: int = Field(2, ge=1)
    """Outer rounds of `train`."""
    chunk: int = Field(16, ge=1)
    """Candidates trained in one call and committed together, rounded to whole passages; in a comparison, documents."""
    documents: Documents = Documents()
    questions: Questions = Questions()
    propose: Propose = Propose()
    inner: Inner = Inner()
    reward: RewardSettings = Correctness()
    screening: ScreeningSettings = NoScreening()
    trials: Trials = Trials()
    algorithm: AlgorithmSettings = RestEM()
    cold_start: ColdStart = ColdStart()
    eval: Evaluation = Evaluation()
    guards: GuardSettings = GuardSettings()
    engine: EngineSettings = TorchEngine()

    @model_validator(mode="after")
    def _screening_fits(self) -> Recipe:
        screen, reward, algorithm = self.screening, self.reward, self.algorithm
        least = algorithm.keep if isinstance(algorithm, RestEM) else 1 if isinstance(algorithm, Archive) else 2  # the others compare
        if isinstance(algorithm, Evolve) and not isinstance(screen, NoScreening):
            raise ValueError("algorithm evolve trains whole populations: screening.type has to be none")
        if isinstance(screen, Selective) and screen.keep < least:
            raise ValueError(f"screening.keep is {screen.keep}, too few for algorithm {algorithm.type}: it learns from at least {least} of a task")
        if isinstance(screen, Selective) and isinstance(reward, Perplexity | Majority):
            raise ValueError(f"screening.type {screen.type} rates by right answers, and reward {reward.type} goes by none: take early_stop or none")
        return self


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
