"""One round: propose → adapt → score → select → update the policy (SEAL section 3.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from selfedit import algorithms
from selfedit.algorithms import evolve
from selfedit.config import AlgorithmSettings, Evolve
from selfedit.engine.base import Progress
from selfedit.loop import outer
from selfedit.loop.inner import Base
from selfedit.loop.measuring import score
from selfedit.loop.outer import Round
from selfedit.loop.prefilter import Prefilter
from selfedit.policy import Policy, derive
from selfedit.rewards import material
from selfedit.store.artifacts import check, seal
from selfedit.strategies import demonstrate, parts
from selfedit.types import Artifact, Candidate, Demonstration, Proposal, Selected, Task, Update


class Rounds(Prefilter):
    """The outer loop."""

    def improve(self, tasks: Sequence[Task], round_: int, algorithm: AlgorithmSettings) -> Round:
        """Propose K self-edits a task, train an adapter on each, score, select (SEAL section 3.1)."""
        candidates = self.explore(tasks, round_, self.reward_base(f"round-{round_}/base", tasks), algorithm)
        return candidates, self.step(f"round-{round_}/kept", Selected, "Selecting", lambda progress: algorithms.select(algorithm, candidates))

    def explore(
        self, tasks: Sequence[Task], round_: int, base: Base, algorithm: AlgorithmSettings, strategies: Sequence[str] = ()
    ) -> list[Candidate]:
        """Self-edits of every task with their rewards; `strategies`, where given, are one for each."""
        policy, name = self.policy, f"round-{round_}"
        write = partial(policy.propose, tasks, round_, policy.recipe.propose, given=strategies)
        proposals = self.step(f"{name}/edits", Proposal, "Writing self-edits", write)
        if isinstance(algorithm, Evolve):
            title = "Training and scoring the LoRAs of the population"
            return self.step(f"{name}/candidates-0", Candidate, title, partial(self.breed, tasks, proposals, base))
        left = self.survivors(tasks, proposals, base, name)
        return self.scored(f"{name}/candidates-", tasks, left, base, epochs=self.reward_epochs)

    def breed(self, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Base, progress: Progress) -> list[Candidate]:
        """One LoRA on the self-edits of each number; what is measured of it about a task is the reward of its self-edit there."""
        policy, by_id = self.policy, {t.id: t for t in tasks}
        population = evolve.members(proposals)
        data = [[e for p in member for e in material(policy.recipe.reward, by_id[p.task_id], p.edit)] for member in population]
        jobs = [outer.member_job(policy, member, examples) for member, examples in zip(population, data, strict=True)]
        with policy.adapters(jobs, progress) as trained:
            bred = [(p, [t]) for t, member in zip(trained, population, strict=True) for p in member]
            return score(policy, by_id, bred, base, self.ledger, (0,), progress)

    def update(self, rounds: Sequence[Round], before: Update | None) -> Update:
        """The outer update: the policy learns from self-edits that were kept, and goes on with what it learned. `before` is the last update."""
        policy, algorithm, folder = self.policy, self.policy.recipe.algorithm, self.ledger.folder
        name, round_, (candidates, kept) = f"policy/round-{len(rounds)}", len(rounds) - 1, rounds[-1]
        over = outer.starts_over(policy.recipe, len(rounds))

        def work(progress: Progress) -> list[Update]:
            job = outer.job(policy, rounds, before)
            if job.data and over:
                policy.reset()
            trained = self.export_trained(job, name, progress) if job.data else None
            return [outer.described(candidates, kept, round_, algorithm.type, job.loss_options.get("kl", 0.0), trained)]

        [done] = self.step(f"round-{round_}/update", Update, "Training the policy on its self-edits", work)
        if done.losses and over:
            policy.reset()
        sealed = [name] if done.losses else []
        for found in self.step(f"round-{round_}/policy", Artifact, "Sealing the policy", lambda progress: [seal(folder, n) for n in sealed]):
            policy.merge(check(folder, found))
        return done

    def warm_up(self, shown: Sequence[Demonstration]) -> None:
        """The cold start: the policy learns from good self-edits, in the very form in which it will be asked for its own."""
        policy, name = self.policy, "policy/cold_start"
        strategies = dict.fromkeys(name for choice in policy.recipe.propose.strategies for name in parts(choice))

        def work(progress: Progress) -> list[Artifact]:
            turns = [turn for s in strategies for one in shown for turn in demonstrate(one, s, policy.chat)]
            self.export_trained(outer.cold_start_job(policy, turns), name, progress)
            return [seal(self.ledger.folder, name)]

        [sealed] = self.step("cold-start", Artifact, "Showing the policy good self-edits", work)
        policy.merge(check(self.ledger.folder, sealed))
        policy.begin()


def of_round(policy: Policy, tasks: Sequence[Task], round_: int) -> Sequence[Task]:
    """The tasks of a round, in their old order. A pass over all of them is cut into whole rounds; what is left over waits for the next shuffle."""
    size = policy.recipe.round_passages
    if not 0 < size < len(tasks):
        return tasks
    epoch, place = divmod(round_, len(tasks) // size)
    shuffled = random.Random(derive(policy.recipe.seed, "passages", epoch)).sample(range(len(tasks)), len(tasks))
    return [tasks[i] for i in sorted(shuffled[place * size : (place + 1) * size])]
