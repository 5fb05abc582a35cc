"""What became of self-edits, and of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Literal

from selfedit.types.edits import SelfEdit
from selfedit.types.tasks import Question


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered question: the local judge's verdict and the log-likelihood of the gold answer, a token or (reward `choice`) of being chosen.

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
    """What a guard decided and why; `about` names the adapter, where there are several.

    `shrink`: not that adapter is used but one whose update is `scale` times as large.
    """

    guard: str
    decision: Literal["accept", "shrink", "reject", "stop"]
    reason: str
    about: str = ""
    scale: float = 1.0

    @property
    def against(self) -> bool:
        """Whether it forbids the use."""
        return self.decision in ("reject", "stop")


@dataclass(frozen=True, slots=True)
class EditNumber:
    """Which self-edit of a run is meant: number `index` of a task in a round (both from 0)."""

    task_id: str
    round: int
    index: int

    @property
    def key(self) -> tuple[str, int, int]:
        """What the records of one self-edit have in common: task, round, index."""
        return self.task_id, self.round, self.index


@dataclass(frozen=True, slots=True)
class Proposal(EditNumber):
    """Self-edit number `index` of a task in a round (both from 0), with the seed it was drawn with."""

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

    @property
    def accepted(self) -> bool:
        """Whether no guard was against it."""
        return not any(verdict.against for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Rating(EditNumber):
    """What a prefilter says of a self-edit before it is trained in full: the higher the better, None where it could not be measured.

    A prefilter in several rungs (from 0) rates again those that are left; whoever reached a higher rung is ahead of whoever did not.
    """

    prefilter: str
    rung: int
    value: float | None


@dataclass(frozen=True, slots=True)
class Selected(EditNumber):
    """The selection: this proposal is learned from. `advantage` says how much, and with which sign; 1 where it is simply imitated."""

    advantage: float = 1.0


@dataclass(frozen=True, slots=True)
class Round:
    """A round of the outer loop: its number (from 0), P·K candidates in groups of a task, and the selection that is learned from."""

    number: int
    candidates: tuple[Candidate, ...]
    selected: tuple[Selected, ...]

    @property
    def chosen(self) -> list[Proposal]:
        """The proposals that were selected."""
        wanted = {one.key for one in self.selected}
        return [c.proposal for c in self.candidates if c.proposal.key in wanted]


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

    @property
    def learner(self) -> str:
        """Of edit vectors: which of their policies moved, as `algorithm` names it after a comma; empty for updates of the model's weights."""
        return self.algorithm.partition(", ")[2]


@dataclass(frozen=True, slots=True)
class Result:
    """How one row of the comparison (`base`, `passage_only`, `after`, ...) answered a task's questions, after training on `tokens` tokens in all.

    Only answers to report questions are results to be shown; answers to reward questions are what gains are measured against and choices are made
    by. The rows of one `seed` (from 0) are paired: what is left to chance, they share as far as they can.
    """

    row: str
    task_id: str
    answers: tuple[Answer, ...]
    tokens: int = 0
    role: Literal["report", "reward"] = "report"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Routed:
    """Who was asked a question: the adapter that knows the document of the task `to`, or (empty) the untrained model.

    `about` is the task that the question is really about, empty for an everyday prompt. `score` is the gate's, log-odds; None where no document
    shares a word with the question. `changed` says whether the answer is another than the untrained model gives; None where that was not measured.
    """

    question: str
    about: str
    to: str
    score: float | None
    changed: bool | None = None


@dataclass(frozen=True, slots=True)
class Harvested:
    """A question that an adapter was asked to learn from its own `answer`, the most frequent of those `drawn`; `share` of them say the same.

    `shown` are answers of the untrained model with the passage in view. `reason` says why the answer was not learned, and is empty where it passed.
    Questions whose right answer is `known` measure the test alone: `right` says whether what passed was right.
    """

    task_id: str
    question: str
    answer: str
    drawn: tuple[str, ...]
    shown: tuple[str, ...]
    share: float
    reason: str = ""
    known: bool = False
    right: bool | None = None

    @property
    def used(self) -> bool:
        """Whether it became training data."""
        return not self.reason and not self.known


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
