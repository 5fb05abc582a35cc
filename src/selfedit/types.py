"""The nouns of selfedit as frozen records. Nothing here imports more than the standard library.

Shapes are named where a record holds numbers: T tokens of a sequence, K candidates of a task, Q questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import ClassVar, Literal

Tokens = tuple[int, ...]
"""Token ids of one sequence, length T."""

# ---------------------------------------------------------------- tasks


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answer, empty where nobody knows it: such a question may choose between self-edits, never be reported on.

    `kind` says where it came from: `given` with the data, `written` by the model and confirmed, or `cloze`
    (a blanked name, number or date of the text). Questions about one `fact` never straddle reward and report.
    """

    question: str
    answer: str
    kind: Literal["given", "written", "cloze"] = "given"
    fact: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A context and its evaluation: SEAL's (C, tau).

    `reward_questions` choose between self-edits; `report_questions` are touched only to report a result.
    """

    id: str
    title: str
    context: str
    reward_questions: tuple[Question, ...] = ()
    report_questions: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, with the questions that came with it (none for plain text)."""

    id: str
    title: str
    context: str
    questions: tuple[Question, ...] = ()


# ---------------------------------------------------------------- self-edits


@dataclass(frozen=True, slots=True)
class Example:
    """One training sequence of a self-edit. With an empty `prompt` the whole text is learned, otherwise only `text`."""

    text: str
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A piece of a completion that was not used, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the policy is asked: a user's turn or, where `continued`, a text to go on with. `given` is what the answer will be, for parsers."""

    text: str
    continued: bool = False
    given: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing the policy was asked and what it wrote."""

    prompt: Prompt
    completion: str
    finish_reason: Literal["stop", "length"] = "stop"


@dataclass(frozen=True, slots=True)
class SelfEdit:
    """Training material that the policy wrote for a task: what was asked, what came back, what was made of it."""

    strategy: str
    turns: tuple[Turn, ...]
    examples: tuple[Example, ...]
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A passage with a good self-edit as a model should write it; without a `completion` one is made of the passage's questions.

    `strategy` is the one it is for, empty for every one that it fits.
    """

    passage: Passage
    completion: str = ""
    strategy: str = ""


# ---------------------------------------------------------------- engine: sampling and scoring


@dataclass(frozen=True, slots=True)
class Adapter:
    """A handle on a LoRA that lives in an engine."""

    id: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn. `temperature` 0 is greedy. `seed` belongs to the request: neighbours never matter."""

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """`prompt` (T,) token ids; `adapter` None is the model's current weights."""

    prompt: Tokens
    sampling: Sampling = Sampling()
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """`tokens` and `logprobs` (nats, under the model at temperature 1) are (T,), without the end token; `text` ends before a stop string."""

    text: str
    tokens: Tokens
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """How likely is `completion` (T,) after `prompt` (at least one token)?"""

    prompt: Tokens
    completion: Tokens
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """`logprobs` (T,) in nats, one for each token of the completion."""

    logprobs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean log-probability a token, nats."""
        return sum(self.logprobs) / len(self.logprobs)


# ---------------------------------------------------------------- engine: training


@dataclass(frozen=True, slots=True)
class Datum:
    """One training sequence: `tokens` (T,) and `weights` (T,), the weight of the loss of predicting each token (the first is never predicted).

    `old_logprobs` and `reference_logprobs` (T,), under the policy that wrote it and the reference, and `advantage` serve the losses that learn
    from rewards and stay empty for SFT. The sides of a `dpo` pair are told apart by the sign of `advantage`.
    """

    tokens: Tokens
    weights: tuple[float, ...]
    old_logprobs: tuple[float, ...] = ()
    reference_logprobs: tuple[float, ...] = ()
    advantage: float = 0.0


@dataclass(frozen=True, slots=True)
class LoraShape:
    """Rank, alpha (the update is scaled by alpha / rank) and the names of the linear layers it is added to; `all` is every one of the blocks."""

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = ("all",)
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Optimizer:
    """AdamW. `schedule` decays to zero at the last step, after `warmup_steps` of linear warm-up. `clip` is the global norm, 0 for none."""

    lr: float = 1e-3
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Train one adapter. A step sees `batch_size` actions; order and initialisation come from `seed`.

    `groups` are the sizes of the runs of sequences that are one action, learned from in one step (the turns of a self-edit, the two sides of a
    pair); without any, each sequence is one. `loss` with its options is one of `engine.base.LOSSES`.
    """

    data: tuple[Datum, ...]
    lora: LoraShape = LoraShape()
    optimizer: Optimizer = Optimizer()
    epochs: int = 1
    batch_size: int = 1
    seed: int = 0
    loss: str = "cross_entropy"
    loss_options: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a TrainJob: the loss of every step, and an adapter, or None with the reason in `failure`.

    `metrics` of losses that have any, one value a step: `kl` to the reference (nats a token), `clip_fraction`, `ratio`, `margin`, `accuracy`.
    """

    adapter: Adapter | None
    losses: tuple[float, ...]
    tokens: int
    failure: str | None = None
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


# ---------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered question: the local judge's verdict and the log-likelihood a token of the gold answer.

    None: there is no gold answer, or (the log-likelihood) it was not measured.
    """

    question: Question
    prediction: str
    correct: bool | None
    gold_logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Reward:
    """`value` None means unscored, with the reason; never 0 by default. `parts` are the named figures it was made of."""

    value: float | None
    kind: str
    reason: str = ""
    parts: tuple[tuple[str, float], ...] = ()

    def part(self, name: str) -> float | None:
        """One of the parts, None where there is none of this name."""
        return dict(self.parts).get(name)


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """What a judge wrote, found again by `key`. `judge` is who was asked, `served` the model that the server says has answered."""

    key: str
    judge: str
    served: str
    prompt: str
    reply: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard decided and why."""

    guard: str
    decision: Literal["accept", "reject", "stop"]
    reason: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """Self-edit number `index` of a task in a round (both from 0), with the seed it was drawn with."""

    task_id: str
    round: int
    index: int
    seed: int
    edit: SelfEdit


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal with what became of it: one member of the task's group. `losses` is the loss of every step, `tokens` what was trained on."""

    proposal: Proposal
    reward: Reward
    answers: tuple[Answer, ...] = ()
    losses: tuple[float, ...] = ()
    tokens: int = 0
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Rating:
    """What a screen says of a self-edit before it is trained in full: the higher the better, None where it could not be measured.

    A screen in several rungs (from 0) rates again those that are left; whoever reached a higher rung is ahead of whoever did not.
    """

    task_id: str
    round: int
    index: int
    screen: str
    rung: int
    value: float | None


@dataclass(frozen=True, slots=True)
class Kept:
    """The selection: this proposal is learned from. `advantage` says how much, and with which sign; 1 where it is simply imitated."""

    task_id: str
    round: int
    index: int
    advantage: float = 1.0


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of writing self-edits, number `number` of an archive: one of the known strategies, or a child that the model wrote of its `parent`.

    `prompt` says what is written, `samples` how often it is asked for one self-edit; `epochs` and `lr` are of the inner loop. `written` is the
    completion it was read from; one with a `problem` is not used.
    """

    number: int
    parent: int | None
    strategy: str
    prompt: str
    format: Literal["statements", "questions"]
    samples: int
    epochs: int
    lr: float
    written: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """One update of the policy. Of `groups` tasks with scored self-edits, `skipped` taught nothing: no two rewards differed, or none was kept.

    `losses` is the loss of every step, none where nothing was left to learn from. `metrics` are means over the steps: those of `Trained`, and
    `kl_coefficient`.
    """

    round: int
    algorithm: str
    groups: int
    skipped: int
    losses: tuple[float, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """How one arm of the comparison (`base`, `passage_only`, `after`, ...) answered a task's questions, after training on `tokens` tokens in all.

    Only answers to report questions are results to be shown; answers to reward questions are what gains are measured against and choices are made
    by. The arms of one `seed` (from 0) are paired: what is left to chance, they share as far as they can.
    """

    arm: str
    task_id: str
    answers: tuple[Answer, ...]
    tokens: int = 0
    role: Literal["report", "reward"] = "report"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file or folder that a step left in the run folder (`path` relative to it), with the SHA-256 of its weights."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % confidence interval over n values, such as answers."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What work took: seconds of wall clock and of CPU, tokens trained on and tokens written, and how much of the CPU's time went into each."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    train_tokens: int = 0
    sample_tokens: int = 0
    train_cpu_s: float = 0.0
    sample_cpu_s: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))
