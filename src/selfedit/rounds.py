"""One round: propose → adapt → score → select → update the policy (SEAL section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.algorithms import rest_em
from selfedit.edits import demonstrate
from selfedit.engine.base import Progress
from selfedit.policy import derive
from selfedit.screening import Screening
from selfedit.types import Artifact, Candidate, Demonstration, Kept, Proposal, Task

Round = tuple[Sequence[Candidate], Sequence[Kept]]
"""The self-edits of a round with their rewards, and those that are learned from."""


class Rounds(Screening):
    """The outer loop."""

    def improve(self, tasks: Sequence[Task], round_: int) -> Round:
        """Propose K self-edits a task, train an adapter on each, score, select (SEAL section 3.1)."""
        policy, recipe, name = self.policy, self.policy.recipe, f"round-{round_}"
        base = self.reward_base(f"{name}/base", tasks)
        proposals = self.step(
            f"{name}/edits", Proposal, "Writing self-edits", lambda progress: policy.propose(tasks, round_, recipe.propose, progress)
        )
        left = self.survivors(tasks, proposals, base, name)
        candidates = self.scored(f"{name}/candidates-", tasks, left, base, epochs=self.reward_epochs)
        kept = self.step(f"{name}/kept", Kept, "Selecting", lambda progress: rest_em.select(candidates, recipe.algorithm.keep))
        return candidates, kept

    def update(self, round_: int, best: Sequence[Proposal]) -> None:
        """The outer update: the policy learns from the prompts and completions of the best self-edits, and goes on with what it learned."""
        turns, name = [turn for p in best for turn in p.edit.turns], f"policy/round-{round_ + 1}"
        job = self.policy.outer_job(turns, derive(self.policy.recipe.seed, "outer", round_), self.policy.recipe.algorithm)
        title = "Training the policy on the best self-edits"
        self.step(f"round-{round_}/policy", Artifact, title, lambda progress: [self.export_trained(job, name, progress)])
        self.merge(self.ledger.folder / name)

    def warm_up(self, shown: Sequence[Demonstration]) -> None:
        """The cold start: the policy learns from good self-edits, in the very form in which it will be asked for its own."""
        policy, recipe, name = self.policy, self.policy.recipe, "policy/cold_start"

        def work(progress: Progress) -> list[Artifact]:
            turns = [turn for s in dict.fromkeys(recipe.propose.strategies) for one in shown for turn in demonstrate(one, s, policy.chat)]
            return [self.export_trained(policy.outer_job(turns, derive(recipe.seed, "cold start"), recipe.cold_start), name, progress)]

        self.step("cold-start", Artifact, "Showing the policy good self-edits", work)
        self.merge(self.ledger.folder / name)


def chosen(candidates: Sequence[Candidate], kept: Sequence[Kept]) -> list[Proposal]:
    """The proposals that were kept."""
    wanted = {(k.task_id, k.round, k.index) for k in kept}
    return [p for p in (c.proposal for c in candidates) if (p.task_id, p.round, p.index) in wanted]
