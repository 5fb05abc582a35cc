"""ReST-EM (Singh et al. 2023, arXiv 2312.06585): learn from the best self-edits of each task by supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from selfedit.algorithms.base import Algorithm, Outer, algorithm, imitated, outer_job, turn_samples
from selfedit.algorithms.groups import groups
from selfedit.errors import ConfigError
from selfedit.types import Candidate, Round, Selected, TrainJob, Update

if TYPE_CHECKING:
    from selfedit.policy import Policy


class RestEMSettings(Outer):
    """Settings of `rest_em`."""

    select: Literal["best", "above"] = "best"
    """Learn from the best self-edits of each task, or from all whose reward is above `threshold`."""
    keep: int = Field(1, ge=1)
    """Best self-edits of each task that are learned from."""
    threshold: float = 0.0
    """With `above`: the reward a self-edit has to exceed."""
    epochs: int = Field(2, ge=1)
    """Passes over the self-edits of a round."""
    restart: bool = False
    """Train the starting policy anew in every round, as Singh et al. do, so that it cannot drift; otherwise that of the last round."""


@algorithm("rest_em", label="ReST-EM", means="supervised fine-tuning on the best self-edits of each task, merged, repeated", settings=RestEMSettings)
class RestEM(Algorithm):
    """ReST-EM (SEAL section 3.1)."""

    learns_documents = True

    @property
    def fewest(self) -> int:
        """As many as are kept."""
        return int(self.settings.keep)

    def check_run(self, recipe: Any) -> None:
        """No more can be kept than are written."""
        keep, K = self.settings.keep, recipe.propose.candidates
        if self.settings.select == "best" and keep > K:
            raise ConfigError(f"algorithm.keep is {keep}, and propose.candidates {K}: of {K} self-edits no more can be kept")

    def select(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """The best of each group, or all above the threshold."""
        return best(candidates, self.settings.keep) if self.settings.select == "best" else above(candidates, self.settings.threshold)

    def starts_over(self, updates: int, rounds: int) -> bool:
        """Where `restart` says so."""
        return bool(self.settings.restart)

    def data(self, policy: Policy, rounds: Sequence[Round], before: Update | None) -> TrainJob:
        """The turns of the last round's selected self-edits, imitated."""
        samples = [sample for edit in turn_samples(policy, rounds[-1]) for sample in edit]
        return outer_job(self.settings, imitated([(s.prompt, s.reply) for s in samples]), policy.seed("outer", rounds[-1].number))


def best(candidates: Sequence[Candidate], keep: int) -> list[Selected]:
    """The `keep` best candidates of each group (one task in one round) by reward, best first; equal rewards by lower index.

    Unscored candidates, and those that a guard did not accept, are never selected. On SEAL's released first round this gives exactly the authors' 50
    rows when the reward is theirs: the mean over three seeds of the adapter's accuracy, each rounded to four decimals (`adapter_mean`). Their
    rounding decides two ties among ninths ("Egypt", "Greece"); without it two rows differ.
    """
    ranked = {key: sorted(group, key=lambda member: -member[1]) for key, group in groups(candidates).items()}
    return [Selected(task_id, round_, index) for (round_, task_id), group in ranked.items() for index, _ in group[:keep]]


def above(candidates: Sequence[Candidate], threshold: float) -> list[Selected]:
    """Every candidate whose reward exceeds the threshold (ReST-EM's own filter, section 3)."""
    return [
        Selected(task_id, round_, index) for (round_, task_id), group in groups(candidates).items() for index, value in group if value > threshold
    ]
