"""The losses that every engine has: one record each with its options, the data it needs, what it is divided by, and the metrics it gives.

Nothing else in the package knows a loss by its name, apart from the functions of log-probabilities in `engine/torch/policy_losses.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from selfedit.errors import ConfigError, EngineError
from selfedit.types import Datum, TrainJob

Options = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ActionSize:
    """The size of one action of an optimizer step: `weight` is the sum over its tokens, `step_weight` over all tokens of the step's `step_actions`.

    `most_sequences` is the largest number of sequences (turns) that an action of the whole job has.
    """

    weight: float
    step_weight: float
    step_actions: int
    most_sequences: int


Divisor = Callable[[ActionSize, Options], float]
"""What the weights of an action's tokens are divided by."""


def per_token(size: ActionSize, _: Options) -> float:
    """A mean over all tokens of the step."""
    return size.step_weight


def per_action(size: ActionSize, _: Options) -> float:
    """A mean over actions of the sum over their tokens."""
    return size.step_actions


def grpo_divisor(size: ActionSize, options: Options) -> float:
    """A mean over actions of the mean over their tokens (GRPO, arXiv 2402.03300).

    With `token_mean` a mean over all tokens of the step (DAPO, arXiv 2503.14476). With `max_tokens`, the most tokens of one sequence, a mean over
    actions of the sum over their tokens divided by one constant (Dr. GRPO, arXiv 2503.20783): the most tokens that an action of this job can have.
    """
    if options["token_mean"]:
        return size.step_weight
    return size.step_actions * (options["max_tokens"] * size.most_sequences or size.weight or 1.0)


@dataclass(frozen=True, slots=True)
class Loss:
    """All that is said of a loss. `options` with their defaults; `needs` are fields of Datum that have a value for every token.

    `coupled`: it needs all sequences of an action in one pass. `taught`: it learns the tokens that have a teacher from it, and the others by
    cross-entropy. `metrics` are what it gives for every step, beside the loss itself. `limits` are the lowest and the highest value of options.
    """

    options: Options = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    divisor: Divisor = per_token
    coupled: bool = False
    taught: bool = False
    metrics: tuple[str, ...] = ()
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)


_CLIP = {"clip": 0.2, "clip_high": 0.2, "kl": 0.0}
_OLD_AND_REFERENCE = ("old_logprobs", "reference_logprobs")
_CLIP_METRICS = ("kl", "clip_fraction", "ratio")

LOSSES: Mapping[str, Loss] = {
    "cross_entropy": Loss(),
    "reinforce": Loss({"kl": 0.0}, ("reference_logprobs",), per_action, metrics=("kl",)),
    "ppo": Loss(_CLIP, _OLD_AND_REFERENCE, per_token, metrics=_CLIP_METRICS),
    "grpo": Loss(_CLIP | {"token_mean": 0.0, "max_tokens": 0.0}, _OLD_AND_REFERENCE, grpo_divisor, metrics=_CLIP_METRICS),
    "dpo": Loss({"beta": 0.1}, ("reference_logprobs",), per_action, coupled=True, metrics=("kl", "margin", "accuracy")),
    "distill": Loss({"reverse": 0.0, "temperature": 1.0}, taught=True, metrics=("kl",), limits={"reverse": (0.0, 1.0), "temperature": (0.01, 100.0)}),
}
"""By the name in a job. `kl` is the weight of the divergence from the reference.

`distill` adds up, over the tokens of a step, weight · divergence from the teacher where a token has one, and weight · cross-entropy where it has
none, and divides by the sum of all these weights, as `cross_entropy` does. So the weights of the data alone say how much the one counts beside the
other. The divergence is τ² [(1 - `reverse`) KL(teacher ‖ model) + `reverse` KL(model ‖ teacher)] with τ = `temperature`; the metric `kl` is the part
of the loss that comes from it.
"""


def metrics_of(job: TrainJob) -> tuple[str, ...]:
    """What a job has a value of for every step, beside the loss."""
    return (*LOSSES[job.loss].metrics, *(("penalty",) if job.penalties else ()))


def options_of(job: TrainJob) -> dict[str, float]:
    """Every option of a job's loss."""
    return {**LOSSES[job.loss].options, **job.loss_options}


def check_loss(job: TrainJob) -> None:
    """Raises ConfigError for a loss, an option or a strength that does not exist, EngineError for data that lack what the loss needs."""
    _check_strengths(job)
    if job.loss not in LOSSES:
        raise ConfigError(f"there is no loss {job.loss!r}; the losses are {', '.join(LOSSES)}")
    loss = LOSSES[job.loss]
    if unknown := set(job.loss_options) - set(loss.options):
        raise ConfigError(f"the loss {job.loss} has no option {sorted(unknown)[0]!r}; it has {', '.join(loss.options) or 'none'}")
    for name, (low, high) in loss.limits.items():
        if not low <= options_of(job)[name] <= high:
            raise ConfigError(f"{name} of the loss {job.loss} is {options_of(job)[name]}; it lies between {low:g} and {high:g}")
    if job.groups and (sum(job.groups) != len(job.data) or min(job.groups) < 1):
        raise EngineError(f"groups of {sum(job.groups)} sequences in all do not divide {len(job.data)}; each has at least one")
    for name in loss.needs:
        if any(len(getattr(d, name)) != len(d.tokens) for d in job.data):
            raise EngineError(f"the loss {job.loss} needs {name} for every token of its sequences")
    if loss.taught:
        for d in job.data:
            _check_teacher(d)


def _check_strengths(job: TrainJob) -> None:
    for penalty in job.penalties:
        if not 0 <= penalty.strength < inf:
            raise ConfigError(f"the strength of a penalty is {penalty.strength}; it is finite and at least 0")


def _check_teacher(d: Datum) -> None:
    """Raises EngineError for a teacher that is no teacher. Log-probabilities that are NaN pass: they fail their job, not its neighbours."""
    if d.teacher and len(d.teacher) != len(d.tokens):
        raise EngineError(f"a sequence of {len(d.tokens)} tokens has a teacher for {len(d.teacher)}; it has an entry for each token, which may be ()")
    for entry in filter(None, d.teacher):
        ids, logprobs = entry
        if not ids or len(ids) != len(logprobs) or len(set(ids)) < len(ids):
            raise EngineError(f"a teacher lists tokens, each once and with a log-probability; here are {len(ids)} and {len(logprobs)}")
        if max(logprobs) > 1e-3 or min(logprobs) == -inf:
            raise EngineError(f"log-probabilities of a teacher lie between {min(logprobs)} and {max(logprobs)}; they are finite, and at most 0")
