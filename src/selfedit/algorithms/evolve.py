"""Evolution of the weights: several LoRAs are trained on self-written data, the best is the foundation of the next iteration, its data accumulate,
and at the end they fine-tune the untrained model.

Number k of the self-edits of all tasks together are the data of LoRA k. The scheme is that of popular accounts of SEAL (arXiv 2506.10943); choosing
among whole populations by fitness alone goes back to Rechenberg (1973), (1, λ) selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import Field

from selfedit.algorithms.base import Algorithm, Outer, algorithm, outer_job
from selfedit.algorithms.groups import TIE, groups
from selfedit.grouping import grouped
from selfedit.types import Candidate, Proposal, Round, Selected, TrainJob, Update

if TYPE_CHECKING:
    from selfedit.policy import Policy


class EvolveSettings(Outer):
    """Settings of `evolve`."""

    epochs: int = Field(2, ge=1)
    """Passes over what has accumulated, in the last round."""


@algorithm(
    "evolve",
    label="Evolution",
    means="each round several LoRAs learn all passages from self-edits, the best is merged; in the end its data fine-tune the model",
    settings=EvolveSettings,
)
class Evolve(Algorithm):
    """Selection among whole LoRAs."""

    shares_adapters = True

    def check(self, recipe: Any) -> None:
        """A population has one LoRA for each number, all of them trained in full."""
        if recipe.inner_seeds > 1:
            raise ValueError("algorithm evolve trains one LoRA for each of its population: inner.seeds has to be 1")
        if recipe.open("prefilter").cheaper:
            raise ValueError("algorithm evolve trains whole populations: prefilter.type has to be none")

    def members(self, proposals: Sequence[Proposal]) -> list[list[Proposal]]:
        """The data of each LoRA: the self-edits of one number, by number."""
        found = grouped((proposal.index, proposal) for proposal in proposals)
        return [found[index] for index in sorted(found)]

    def select(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """All self-edits of the LoRA with the highest mean reward over the tasks."""
        return fittest(candidates)

    def starts_over(self, updates: int, rounds: int) -> bool:
        """After the last round, on what has accumulated."""
        return updates == rounds

    def data(self, policy: Policy, rounds: Sequence[Round], before: Update | None) -> TrainJob:
        """The best LoRA of the round once more; after the last round one on the data of every round's best, each example once."""
        best = [round_.chosen for round_ in rounds]
        examples = [[e for p in member for e in p.edit.examples] for member in best]
        if not self.starts_over(len(rounds), policy.recipe.rounds):
            return policy.member_job(best[-1], examples[-1]) if best[-1] else TrainJob(())
        data = tuple(map(policy.render.datum, dict.fromkeys(e for each in examples for e in each)))
        return outer_job(self.settings, data, policy.seed("accumulated"))


def fittest(candidates: Sequence[Candidate]) -> list[Selected]:
    """All self-edits of the LoRA with the highest mean reward over the tasks; the lower number where two are equal.

    A LoRA that was not scored on every task that could be is never chosen: its mean would be over other tasks than the others'.
    """
    scored = groups(candidates).values()
    rewards = grouped(member for group in scored for member in group)
    fitness = {index: round(fmean(known), TIE) for index, known in rewards.items() if len(known) == len(scored)}
    if not fitness:
        return []
    best = min(fitness, key=lambda index: (-fitness[index], index))
    chosen = [candidate.proposal for candidate in candidates if candidate.proposal.index == best]
    return [Selected(*proposal.key) for proposal in chosen]
