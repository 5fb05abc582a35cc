"""Sections of a recipe that are no parts: documents, questions, how self-edits are written, the comparison, the reliability study, a cold start."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from selfedit import parts
from selfedit.errors import ConfigError
from selfedit.parts import Settings
from selfedit.types import Drawing, LoraShape, Optimizer

MIXED = "+"
"""Between the names of strategies that one self-edit combines."""
MOST_CHOICES = 64
"""Self-edits are numbered in steps of this, one a seed of the comparison."""


def known(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of registered parts of this kind, as they are. Raises ValueError that names the nearest."""
    parts.load()
    registry = parts.KINDS[kind]
    for name in names:
        try:
            registry.get(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
    return names


class Documents(Settings):
    """How documents are cut into passages."""

    passage_words: int = Field(150, ge=20)
    """About how many words a passage has."""
    max_bytes: int = Field(16 * 2**20, ge=1)
    """A larger file is refused."""
    max_passages: int = Field(2000, ge=1)
    """More passages are refused."""


class LibrarySettings(Settings):
    """The library that `learn` adds to, and how much of its history is kept."""

    group: int = Field(1, ge=0)
    """Documents that share an adapter; 0: all of a run."""
    versions: int = Field(0, ge=0)
    """Versions that are kept; 0: all. An adapter that no kept version has is deleted."""


class Questions(Settings):
    """Where the questions of a task come from and how they are divided."""

    report_share: float = Field(0.5, gt=0, lt=1)
    """Share of a task's facts whose questions are kept for the report and never used for a reward; documents to train a policy on keep none."""
    written: int = Field(8, ge=2, le=64)
    """Questions wanted for a passage that comes without any."""
    samples: int = Field(3, ge=2, le=16)
    """Independent answers, with the passage in view, that have to agree before a written question counts."""
    max_tokens: int = Field(48, ge=1)
    """Longest answer, tokens."""


class Harvest(Settings):
    """`learn` and `train`: adapters answer fresh questions; answers that agree, and that the passage confirms, are learned too."""

    questions: int = Field(0, ge=0, le=64)
    """Fresh questions a passage, written by the model; 0: nothing is harvested."""
    answers: int = Field(4, ge=2, le=64)
    """Answers that an adapter draws to each, without the passage."""
    temperature: float = Field(0.7, gt=0)
    """Sampling temperature of these answers."""
    share: float = Field(0.75, gt=0, le=1)
    """Least share of these answers that has to agree."""
    max_words: int = Field(30, ge=1)
    """A longer answer is not learned."""


class Propose(Settings):
    """How the policy writes self-edits."""

    strategies: tuple[str, ...] = Field(("sentence-qa",), min_length=1)
    """Strategies to write self-edits with: `selfedit show strategies` lists them, and `self-qa+key-facts` is a self-edit made of both."""
    pick: Literal["turns", "policy"] = "turns"
    """`turns`: the candidates of a task take the strategies in turn. `policy`: the policy picks, and learns to pick as it learns to write."""
    directives: tuple[str, ...] = ()
    """Settings of the inner loop that the policy chooses for each self-edit, such as `lr`, `epochs`, `rank`, `layers`, `loss`; `selfedit show
    directives` lists them. Two rows of the table then have the same self-edits with the settings as they are, and with random ones."""
    directives_as: Literal["slots", "json"] = "slots"
    """`slots`: each is drawn from its alternatives, which the model scores. `json`: the model writes them all as one JSON object; a self-edit whose
    object cannot be used is not scored."""
    mix: int = Field(1, ge=1)
    """Number of strategies that a self-edit combines: with 2, the choice is between all pairs of them."""
    spans: int = Field(15, ge=1, le=30)
    """Most short answers of a passage that `span-qa` and `sentence-qa` ask about, sentence by sentence, and most sentences of `pairs-by-sentence`."""
    candidates: int = Field(3, ge=1, le=64)
    """Self-edits a task (K)."""
    sampling: Drawing = Drawing(max_tokens=256, temperature=0.7, top_p=0.95)
    """SEAL samples at temperature 1; a small writer then makes things up."""

    @field_validator("sampling", mode="before")
    @classmethod
    def _completed(cls, sampling: Any) -> Any:
        """Keys that a recipe leaves out are as they are by default here, not as `Drawing` has them; a seed, of older runs, decided nothing."""
        if not isinstance(sampling, dict):
            return sampling
        named = {key: value for key, value in sampling.items() if (key, value) != ("seed", 0)}
        return asdict(cls.model_fields["sampling"].default) | named

    @property
    def policy_picks(self) -> bool:
        """Whether the policy picks strategies itself."""
        return self.pick == "policy"

    @property
    def choices(self) -> tuple[str, ...]:
        """What there is to pick from, C names: each strategy or, with `mix`, each combination, in the order of the strategies."""
        return tuple(MIXED.join(some) for some in combinations(self.strategies, self.mix))


class Evaluation(Settings):
    """The comparison at the end of `train` and `eval`, on documents that nobody learned from. `learn` takes the rows that make sense there."""

    baselines: tuple[str, ...] = ("base", "passage_only", "token_matched", "untrained", "oracle")
    """Rows to compare with; `selfedit show baselines` lists them. Not on by default because of their cost: `best_of_k` (K adapters for each
    document and seed), `all_edits` (one as long as K), `more_edits` and `random_edit` (one each)."""
    seeds: int = Field(1, ge=1)
    """How often every row is trained, with self-edits and adapters of its own each time. Rows are paired by seed."""

    @field_validator("baselines")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in known("baseline", names):
            if not getattr(parts.KINDS["baseline"].get(name).build, "asked", True):
                raise ValueError(f"row '{name}' is made by a run itself and cannot be asked for; `selfedit show baselines` lists what can be")
        return names


class ReliabilityStudy(Settings):
    """What `selfedit eval --reliability` measures, on `propose.candidates` self-edits of each of `limit` tasks."""

    seeds: int = Field(3, ge=2, le=12)
    """Adapters trained on each self-edit with different seeds."""
    prefilters: tuple[str, ...] = ("halving", "early_stop", "gradient", "in_context")
    """Prefilters that are compared with the full reward, with the settings of `prefilter` where they are its type, else with their defaults."""

    @field_validator("prefilters")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known("prefilter", names)


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
    """Prompts, with their completions, in one optimizer step."""
