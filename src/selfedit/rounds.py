"""One round: propose → adapt → score → select → update the policy (SEAL section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from selfedit.algorithms import rest_em
from selfedit.engine.base import Progress
from selfedit.guards import training
from selfedit.policy import derive
from selfedit.rewards import reward
from selfedit.screening import Base, Screening, chunks
from selfedit.types import Answer, Artifact, Candidate, Kept, Proposal, Reward, Task, Trained


class Rounds(Screening):
    """The inner and the outer loop."""

    def improve(self, tasks: Sequence[Task], round_: int) -> tuple[list[Proposal], list[Kept]]:
        """Propose K self-edits a task, train an adapter on each, score, select (SEAL section 3.1)."""
        policy, recipe = self.policy, self.policy.recipe
        base = self.answer_base(f"round-{round_}/base", tasks, "reward")
        proposals = self.step(
            f"round-{round_}/edits", Proposal, "Writing self-edits", lambda progress: policy.propose(tasks, round_, recipe.propose, progress)
        )
        left = self.survivors(tasks, proposals, base, f"round-{round_}")
        candidates = self.measured(tasks, left, base, f"round-{round_}", recipe.inner.seeds, self.reward_epochs)
        keep = recipe.algorithm.keep
        kept = self.step(f"round-{round_}/kept", Kept, "Selecting", lambda progress: rest_em.select(candidates, keep))
        return proposals, kept

    def update(self, round_: int, best: Sequence[Proposal]) -> None:
        """The outer update: the policy learns from the prompts and completions of the best self-edits, and goes on with what it learned."""
        turns, name = [turn for p in best for turn in p.edit.turns], f"policy/round-{round_ + 1}"
        job = self.policy.outer_job(turns, derive(self.policy.recipe.seed, "outer", round_), self.policy.recipe.algorithm)
        title = "Training the policy on the best self-edits"
        self.step(f"round-{round_}/policy", Artifact, title, lambda progress: [self.export_trained(job, name, progress)])
        self.merge(self.ledger.folder / name)

    def measured(
        self, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Base, name: str, seeds: int, epochs: int | None = None
    ) -> list[Candidate]:
        """The rewards of proposals, `seeds` adapters for each, a chunk at a time; after the inner loop's epochs, or as many."""
        candidates: list[Candidate] = []
        size = self.policy.recipe.chunk
        for i, chunk in enumerate(chunks(proposals, size)):
            title = f"Training and scoring candidates {i * size + 1} to {i * size + len(chunk)} of {len(proposals)}"
            candidates += self.step(f"{name}/candidates-{i}", Candidate, title, partial(self.adapt, tasks, chunk, base, seeds, epochs))
        return candidates

    def adapt(
        self, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Base, seeds: int, epochs: int | None, progress: Progress
    ) -> list[Candidate]:
        """The inner loop on many proposals at once: train, answer the reward questions, judge, forget."""
        policy = self.policy
        by_id = {t.id: t for t in tasks}
        jobs = [policy.job(p.edit.examples, derive(p.seed, "inner", s), epochs) for p in proposals for s in range(seeds)]
        trained = policy.train(jobs, progress)
        groups = list(chunks(trained, seeds))
        exams = [
            (t.adapter, by_id[p.task_id], by_id[p.task_id].reward_questions if t.adapter else ())
            for p, group in zip(proposals, groups, strict=True)
            for t in group
        ]
        answered = list(chunks(policy.answer(exams, progress), seeds))
        for t in trained:
            self.drop(t)
        return [self.candidate(p, g, a, base[p.task_id]) for p, g, a in zip(proposals, groups, answered, strict=True)]

    def candidate(self, proposal: Proposal, trained: Sequence[Trained], answers: Sequence[Sequence[Answer]], base: Sequence[Answer]) -> Candidate:
        """A proposal with its reward; unscored where an adapter failed."""
        verdict = training(trained)
        flat = tuple(answer for each in answers for answer in each)
        settings = self.policy.recipe.reward
        value = reward(settings, flat, base) if verdict.decision == "accept" else Reward(None, settings.type, verdict.reason)
        losses = tuple(loss for t in trained for loss in t.losses)
        return Candidate(proposal, value, flat, losses, sum(t.tokens for t in trained), (verdict,))


def chosen(proposals: Sequence[Proposal], kept: Sequence[Kept]) -> list[Proposal]:
    """The proposals that were kept."""
    wanted = {(k.task_id, k.round, k.index) for k in kept}
    return [p for p in proposals if (p.task_id, p.round, p.index) in wanted]
