"""What every guard is: it looks at a candidate, an adapter or a round, and returns a verdict with the reason. `@guard` registers one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from selfedit.errors import ConfigError, SelfeditError
from selfedit.parts import Part, Registry, Settings
from selfedit.types import Adapter, Answer, Cost, Result, Round, SampleRequest, SelfEdit, Task, Trained, Verdict

if TYPE_CHECKING:
    from selfedit.policy import Policy

Stage = Literal["candidate", "adapter", "round"]
"""What a guard looks at: the trainings of a candidate, the adapter that `learn` ends with, or the policy after a round of `train`."""


InUse = Callable[[Sequence[str]], Sequence[tuple[SampleRequest, SampleRequest]]]
"""Questions as they are put to the untrained model and, beside it, to whoever answers in use."""


@dataclass(frozen=True, slots=True)
class CandidateSeen:
    """The trainings of one candidate, one for each of its S inner seeds; its self-edit, and those of its task that came before it in the round."""

    trained: Sequence[Trained]
    edit: SelfEdit | None = None
    earlier: Sequence[SelfEdit] = ()


@dataclass(frozen=True, slots=True)
class AdapterSeen:
    """An adapter that is to be put in force, over the policy's weights; answers to the reward questions of its documents, by the base and by it.

    `tasks` are these documents, without questions of the report.
    `in_use` says of questions how the untrained model is asked and, beside it, whoever would answer if this adapter were the only one: where a gate
    does not let a question in, the two are the same. None where no gate stands in front.
    """

    policy: Policy
    adapter: Adapter
    before: Sequence[Answer]
    after: Sequence[Answer]
    in_use: InUse | None = None
    tasks: Sequence[Task] = ()


@dataclass(frozen=True, slots=True)
class RoundSeen:
    """A round with the one before it (None: it is the first), and answers to validation questions by the policy as each of them began.

    Validation questions are the reward questions of the held-out documents: nothing is chosen by them, and nothing reported. They are asked where
    the reward is a vote, or a guard `validates`. `cost` is what the run has used so far, `edits` how many self-edits it has written.
    """

    before: Round | None
    after: Round
    results_before: Sequence[Result]
    results: Sequence[Result]
    cost: Cost = field(default_factory=Cost)
    edits: int = 0


class ShrinkSettings(Settings):
    """Settings of a guard of adapters that may scale one down in place of rejecting it."""

    shrink: bool = False
    """Scale an adapter down until it passes, instead of rejecting it. It is rejected only if not even a tenth of its update passes."""


class Guard(Part):
    """Decides whether something may be used."""

    stage: Stage = "adapter"
    validates = False
    """Whether the policy has to answer validation questions after each round, so that rounds can be compared by them."""

    @property
    def shrinks(self) -> bool:
        """Whether it is asked about smaller scales of an adapter that it would reject: it must need no answers of the adapter to decide."""
        return bool(getattr(self.settings, "shrink", False))

    def verdict(self, seen: Any) -> Verdict | None:
        """Accept, reject or stop, with the reason; None where the guard has nothing to say about it. `seen` is the record of its stage."""
        raise NotImplementedError(f"guard {self.settings.part} decides nothing")


def accept(reason: str) -> Verdict:
    """It may be used."""
    return Verdict("", "accept", reason)


def reject(reason: str) -> Verdict:
    """It is not used; the run goes on."""
    return Verdict("", "reject", reason)


def stop(reason: str) -> Verdict:
    """It is not used, and the run ends."""
    return Verdict("", "stop", reason)


def _of_function(name: str, function: Callable[..., Any], stage: Stage = "adapter") -> Callable[[Any], Guard]:
    """A guard made of `function(seen, settings)`, which returns `accept(...)`, `reject(...)` or `stop(...)`."""
    if stage not in ("candidate", "adapter", "round"):
        raise ConfigError(f"guard '{name}': there is no stage '{stage}'; there are candidate, adapter and round")

    class Function(Guard):
        def verdict(self, seen: Any) -> Verdict | None:
            found: Verdict | None = function(seen, self.settings)
            return found

    Function.stage = stage
    return Function


guard = Registry("guard", Guard, wrap=_of_function, typed=False)
"""`@guard(name, means=..., settings=..., stage=...)` registers a subclass of Guard, or a function of (seen, settings)."""


def judge(guards: Sequence[Guard], stage: Stage, seen: Any) -> list[Verdict]:
    """The verdicts of the guards of a stage. One that fails cannot decide, and rejects."""
    found = []
    for one in guards:
        if one.stage != stage:
            continue
        try:
            verdict = one.verdict(seen)
        except SelfeditError:
            raise
        except Exception as error:
            verdict = reject(f"the guard failed and cannot decide: {type(error).__name__}: {error}")
        if verdict is not None:
            found.append(replace(verdict, guard=one.settings.part))
    return found
