"""One round: propose → adapt → score → select → update the policy (SEAL section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from selfedit.algorithms import rest_em
from selfedit.edits import demonstrate
from selfedit.engine.base import Progress
from selfedit.measuring import score
from selfedit.policy import derive
from selfedit.rewards import material, needs
from selfedit.steps import R, Steps
from selfedit.types import Answer, Artifact, Candidate, Demonstration, Kept, Proposal, Task

Base = Mapping[str, Sequence[Answer]]
"""The current weights' own answers to the reward questions of each task; empty where the reward compares with none."""
Round = tuple[Sequence[Candidate], Sequence[Kept]]
"""The self-edits of a round with their rewards, and those that are learned from."""


class Rounds(Steps):
    """The inner and the outer loop."""

    def improve(self, tasks: Sequence[Task], round_: int) -> Round:
        """Propose K self-edits a task, train an adapter on each, score, select (SEAL section 3.1)."""
        policy, recipe, name = self.policy, self.policy.recipe, f"round-{round_}"
        base = self.reward_base(f"{name}/base", tasks)
        proposals = self.step(
            f"{name}/edits", Proposal, "Writing self-edits", lambda progress: policy.propose(tasks, round_, recipe.propose, progress)
        )
        candidates = self.scored(f"{name}/candidates-", tasks, proposals, base)
        kept = self.step(f"{name}/kept", Kept, "Selecting", lambda progress: rest_em.select(candidates, recipe.algorithm.keep))
        return candidates, kept

    def reward_base(self, name: str, tasks: Sequence[Task]) -> Base:
        """What the reward of an adapter is compared with."""
        return self.answer_base(name, tasks, "reward") if needs(self.policy.recipe.reward).answers else {}

    def scored(self, name: str, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Base) -> list[Candidate]:
        """Self-edits with their rewards, whole groups at a time: some rewards compare their members. `name` begins the names of the steps."""
        candidates: list[Candidate] = []
        for i, chunk in enumerate(chunks(tasks, max(1, self.policy.recipe.chunk // self.policy.recipe.propose.candidates))):
            ids = {task.id for task in chunk}
            group = [p for p in proposals if p.task_id in ids]
            title = f"Training and scoring self-edits {len(candidates) + 1} to {len(candidates) + len(group)} of {len(proposals)}"
            candidates += self.step(f"{name}{i}", Candidate, title, partial(self.adapt, chunk, group, base))
        return candidates

    def adapt(self, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Base, progress: Progress) -> list[Candidate]:
        """The inner loop on many proposals at once: train, measure what the reward needs, forget."""
        policy, seeds = self.policy, self.policy.recipe.inner.seeds
        by_id = {t.id: t for t in tasks}
        edits = [(p, material(policy.recipe.reward, by_id[p.task_id], p.edit)) for p in proposals]
        trained = policy.train([policy.job(examples, policy.inner_seed(p, s)) for p, examples in edits for s in range(seeds)], progress)
        candidates = score(policy, by_id, list(zip(proposals, chunks(trained, seeds), strict=True)), base, self.ledger, progress)
        for t in trained:
            self.drop(t)
        return candidates

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


def chunks(items: Sequence[R], size: int) -> list[Sequence[R]]:
    """Pieces of at most `size`."""
    return [items[i : i + size] for i in range(0, len(items), size)]
