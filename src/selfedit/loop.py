"""The loop: tasks → propose → adapt → score → guard → keep → learn, every arrow written to the ledger.

`ledger.step` computes once and records; a run that was killed goes through the same lines and finds what was finished.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from selfedit import algorithms, outer
from selfedit.algorithms import evolve
from selfedit.config import AlgorithmSettings, Archive, Evolve, RestEM
from selfedit.engine.base import Progress
from selfedit.errors import EngineError
from selfedit.examiner import examine
from selfedit.guards import ANCHORS, forgetting, training
from selfedit.ledger import Ledger
from selfedit.policy import Policy, derive
from selfedit.rewards import reward
from selfedit.search import search
from selfedit.types import (
    Adapter,
    Answer,
    Artifact,
    Candidate,
    Example,
    Kept,
    Passage,
    Proposal,
    Result,
    Reward,
    ScoreRequest,
    Task,
    Trained,
    TrainJob,
    Update,
    Verdict,
)

R = TypeVar("R")
Stage = Callable[[str], AbstractContextManager[Progress]]
"""Shows a piece of work by its name while it goes on."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A policy at work, its ledger, and who watches."""

    policy: Policy
    ledger: Ledger
    stage: Stage

    # ------------------------------------------------------------ whole runs

    def learn(self, passages: Sequence[Passage]) -> None:
        """Learn documents: the best self-edit of each is kept, and one adapter is trained on all that were kept."""
        tasks = self.step("tasks", Task, "Preparing questions", lambda progress: examine(self.policy, passages, progress))
        self.answer_base("base", tasks)
        algorithm = self.policy.recipe.algorithm
        candidates, kept = self.improve(tasks, 0, algorithm if isinstance(algorithm, RestEM) else RestEM())
        self.compare(tasks, [c.proposal for c in candidates], kept)
        self.step("guards", Verdict, "Checking what else changed", self.guard)

    def train(self, passages: Sequence[Passage], held_out: Sequence[Passage]) -> None:
        """Learn to write self-edits: each round the policy is trained on the best of its own, and measured on documents it never learns from."""
        policy = self.policy
        tasks = self.step("tasks", Task, "Preparing questions", lambda progress: examine(policy, passages, progress))
        exams = self.step("held-out", Task, "Preparing held-out questions", lambda progress: examine(policy, held_out, progress))
        self.baselines(exams)
        self.evaluate(exams, 0, "untrained")
        if isinstance(policy.recipe.algorithm, Archive):
            search(self, policy.recipe.algorithm, tasks).evaluate(exams, 1, "best_strategy")
            return
        rounds: list[outer.Round] = []
        done: Update | None = None
        for round_ in range(policy.recipe.rounds):
            rounds.append(self.improve(tasks, round_, policy.recipe.algorithm))
            done = self.update(rounds, done)
            self.evaluate(exams, round_ + 1, f"round-{round_ + 1}")

    def measure(self, passages: Sequence[Passage], rounds: Sequence[Path] = ()) -> None:
        """Each strategy of the recipe as an arm of its own; or, given the adapters of its rounds in order, the policy that they made."""
        exams = self.step("held-out", Task, "Preparing held-out questions", lambda progress: examine(self.policy, passages, progress))
        self.baselines(exams)
        for folder in rounds:
            self.policy.merge(folder)
        if rounds:
            self.evaluate(exams, 0, f"round-{len(rounds)}")
        else:
            for number, strategy in enumerate(self.policy.recipe.propose.strategies):  # as the round: self-edits are told apart by it
                self.evaluate(exams, number, strategy, (strategy,))

    def baselines(self, tasks: Sequence[Task]) -> None:
        """What every arm is compared with: no learning, and an adapter for each task on the passage alone."""
        policy = self.policy
        self.answer_base("base", tasks)
        jobs = {t.id: policy.job([_passage(t)], derive(policy.recipe.seed, "passage", t.id)) for t in tasks}
        self.step("passage-only", Result, "Training on the passages alone", lambda progress: self.results("passage_only", tasks, jobs, progress))

    def evaluate(self, tasks: Sequence[Task], round_: int, arm: str, strategies: Sequence[str] = ()) -> None:
        """One unselected self-edit of each task, an adapter of its own, and the report questions: the current policy as one arm of the table."""
        policy = self.policy
        settings = policy.recipe.propose.model_copy(update={"candidates": 1} | ({"strategies": tuple(strategies)} if strategies else {}))
        name = f"evaluate/{arm}"
        proposals = self.step(
            f"{name}/edits", Proposal, f"Writing self-edits ({arm})", lambda progress: policy.propose(tasks, round_, settings, progress)
        )
        edits = {p.task_id: policy.job(p.edit.examples, p.seed) for p in proposals}
        self.step(name, Result, f"Training on self-edits ({arm})", lambda progress: self.results(arm, tasks, edits, progress))

    # ------------------------------------------------------------ one round

    def improve(self, tasks: Sequence[Task], round_: int, algorithm: AlgorithmSettings) -> tuple[list[Candidate], list[Kept]]:
        """Propose K self-edits a task, train an adapter on each, score, select (SEAL section 3.1)."""
        base = self.answer_base(f"round-{round_}/base", tasks, "reward")
        candidates = self.explore(tasks, round_, base, algorithm)
        return candidates, self.step(f"round-{round_}/kept", Kept, "Selecting", lambda progress: algorithms.select(algorithm, candidates))

    def explore(self, tasks: Sequence[Task], round_: int, base: Mapping[str, Sequence[Answer]], algorithm: AlgorithmSettings) -> list[Candidate]:
        """Self-edits of every task, trained on and scored."""
        policy, recipe = self.policy, self.policy.recipe
        proposals = self.step(
            f"round-{round_}/edits", Proposal, "Writing self-edits", lambda progress: policy.propose(tasks, round_, recipe.propose, progress)
        )
        if isinstance(algorithm, Evolve):
            title = "Training and scoring the LoRAs of the population"
            return self.step(f"round-{round_}/candidates-0", Candidate, title, partial(self.breed, tasks, proposals, base))
        candidates: list[Candidate] = []
        for i, chunk in enumerate(_chunks(proposals, recipe.chunk)):
            title = f"Training and scoring candidates {i * recipe.chunk + 1} to {i * recipe.chunk + len(chunk)} of {len(proposals)}"
            candidates += self.step(f"round-{round_}/candidates-{i}", Candidate, title, partial(self.adapt, tasks, chunk, base))
        return candidates

    def update(self, rounds: Sequence[outer.Round], before: Update | None) -> Update:
        """The outer update: the policy learns from self-edits that were kept, and goes on with what it learned. `before` is the last update."""
        policy, algorithm, name = self.policy, self.policy.recipe.algorithm, f"policy/round-{len(rounds)}"
        round_, (candidates, kept) = len(rounds) - 1, rounds[-1]
        kl = algorithms.kl_coefficient(algorithm, before)

        def work(progress: Progress) -> list[Update]:
            job = outer.job(policy, rounds, kl)
            trained = self.export_trained(job, name, progress) if job.data else None
            return [outer.described(candidates, kept, round_, algorithm.type, kl, trained)]

        [done] = self.step(f"round-{round_}/update", Update, "Training the policy on its self-edits", work)
        folder = self.ledger.folder
        for artifact in self.step(
            f"round-{round_}/policy", Artifact, "Sealing the policy", lambda progress: [_artifact(folder, name)] if done.losses else []
        ):
            policy.merge(folder / artifact.path)
        return done

    def adapt(
        self, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Mapping[str, Sequence[Answer]], progress: Progress
    ) -> list[Candidate]:
        """The inner loop on many proposals at once: train, answer the reward questions, judge, forget."""
        policy, recipe = self.policy, self.policy.recipe
        by_id = {t.id: t for t in tasks}
        seeds = range(recipe.inner.seeds)
        trained = policy.train([policy.job(p.edit.examples, derive(p.seed, "inner", s)) for p in proposals for s in seeds], progress)
        groups = list(_chunks(trained, recipe.inner.seeds))
        exams = [
            (t.adapter, by_id[p.task_id], by_id[p.task_id].reward_questions if t.adapter else ())
            for p, group in zip(proposals, groups, strict=True)
            for t in group
        ]
        answered = list(_chunks(policy.answer(exams, progress), recipe.inner.seeds))
        for t in trained:
            self.drop(t)
        return [self.candidate(p, g, a, base[p.task_id]) for p, g, a in zip(proposals, groups, answered, strict=True)]

    def breed(
        self, tasks: Sequence[Task], proposals: Sequence[Proposal], base: Mapping[str, Sequence[Answer]], progress: Progress
    ) -> list[Candidate]:
        """One LoRA on the self-edits of each number; what it answers about a task is the reward of its self-edit there."""
        policy, questions = self.policy, {t.id: t for t in tasks}
        population = evolve.members(proposals)
        trained = policy.train([outer.member_job(policy, member) for member in population], progress)
        bred = [(t, p) for t, member in zip(trained, population, strict=True) for p in member]
        exams = [(t.adapter, questions[p.task_id], questions[p.task_id].reward_questions if t.adapter else ()) for t, p in bred]
        answered = policy.answer(exams, progress)
        for t in trained:
            self.drop(t)
        return [self.candidate(p, [t], [a], base[p.task_id]) for (t, p), a in zip(bred, answered, strict=True)]

    def candidate(self, proposal: Proposal, trained: Sequence[Trained], answers: Sequence[Sequence[Answer]], base: Sequence[Answer]) -> Candidate:
        """A proposal with its reward; unscored where an adapter failed."""
        verdict = training(trained)
        flat = tuple(answer for each in answers for answer in each)
        settings = self.policy.recipe.reward
        value = reward(settings, flat, base) if verdict.decision == "accept" else Reward(None, settings.type, verdict.reason)
        losses = tuple(loss for t in trained for loss in t.losses)
        return Candidate(proposal, value, flat, losses, sum(t.tokens for t in trained), (verdict,))

    def compare(self, tasks: Sequence[Task], proposals: Sequence[Proposal], kept: Sequence[Kept]) -> None:
        """One adapter on the best self-edits of all tasks, beside one on the passages alone, and one on the passages with as many tokens."""
        policy, seed = self.policy, self.policy.recipe.seed
        passages = [_passage(t) for t in tasks]
        chosen = [e for p in _chosen(proposals, kept) for e in p.edit.examples]
        if not chosen:
            raise EngineError("no self-edit could be kept: every candidate failed; `selfedit report` shows why (lower inner.optimizer.lr?)")
        after, plain = policy.job(chosen, seed), policy.job(passages, seed)
        matched = policy.job(passages, seed, epochs=max(1, round(_tokens(after) / _tokens(plain) * after.epochs)))
        jobs = {"passage_only": plain, "passage_only_matched": matched, "after": after}

        def work(progress: Progress) -> list[Result]:
            trained = dict(zip(jobs, policy.train(list(jobs.values()), progress), strict=True))
            if failed := next((t.failure for t in trained.values() if t.failure), None):
                raise EngineError(f"the final adapter could not be trained: {failed}")
            answers = policy.answer([(t.adapter, task, task.report_questions) for t in trained.values() for task in tasks], progress)
            self.export(trained["after"], "adapter")
            for t in trained.values():
                self.drop(t)
            pairs = [(arm, t, task) for arm, t in trained.items() for task in tasks]
            return [Result(arm, task.id, a, t.tokens) for (arm, t, task), a in zip(pairs, answers, strict=True)]

        self.step("compare", Result, "Training on the best self-edits of all documents", work)
        self.step("adapter", Artifact, "Sealing the adapter", lambda progress: [_artifact(self.ledger.folder, "adapter")])

    def guard(self, progress: Progress) -> list[Verdict]:
        """Whether the final adapter may be used."""
        engine = self.policy.engine
        adapter = engine.load(self.ledger.folder / "adapter")
        anchors = [(engine.tokenizer.encode(a), engine.tokenizer.encode_more(b)) for a, b in ANCHORS]
        before, after = (engine.score([ScoreRequest(a, b, who) for a, b in anchors]) for who in (None, adapter))
        engine.drop(adapter)
        return [forgetting(before, after, self.policy.recipe.guards.max_forgetting)]

    # ------------------------------------------------------------ pieces

    def step(self, name: str, kind: type[R], title: str, compute: Callable[[Progress], Sequence[R]]) -> list[R]:
        """A step of the ledger, shown while it is computed."""

        def shown() -> Sequence[R]:
            with self.stage(title) as progress:
                return compute(progress)

        return self.ledger.step(name, kind, shown)

    def answer_base(self, name: str, tasks: Sequence[Task], role: Literal["report", "reward"] = "report") -> dict[str, tuple[Answer, ...]]:
        """The current weights' own answers, once for each task."""

        def work(progress: Progress) -> list[Result]:
            asked = [t.reward_questions if role == "reward" else t.report_questions for t in tasks]
            answers = self.policy.answer([(None, t, questions) for t, questions in zip(tasks, asked, strict=True)], progress)
            return [Result("base", t.id, a, 0, role) for t, a in zip(tasks, answers, strict=True)]

        title = "Asking before learning" if role == "report" else "Asking the questions that choose between self-edits"
        return {r.task_id: r.answers for r in self.step(name, Result, title, work)}

    def results(self, arm: str, tasks: Sequence[Task], jobs: Mapping[str, TrainJob], progress: Progress) -> list[Result]:
        """An adapter of its own for each task, and its answers to the report questions."""
        trained = self.policy.train([jobs[t.id] for t in tasks], progress)
        failed = [t.failure for t in trained if t.failure]
        if failed:
            raise EngineError(f"training failed in arm {arm}: {failed[0]}")
        answers = self.policy.answer([(a.adapter, t, t.report_questions) for a, t in zip(trained, tasks, strict=True)], progress)
        for t in trained:
            self.drop(t)
        return [Result(arm, t.id, a, done.tokens) for t, a, done in zip(tasks, answers, trained, strict=True)]

    def export_trained(self, job: TrainJob, name: str, progress: Progress) -> Trained:
        """Train one adapter and leave it in the run folder."""
        [trained] = self.policy.train([job], progress)
        if trained.failure:
            raise EngineError(f"the policy could not be trained: {trained.failure}")
        self.export(trained, name)
        self.drop(trained)
        return trained

    def export(self, trained: Trained, name: str) -> None:
        """Write an adapter whole or not at all."""
        folder = self.ledger.folder / name
        draft = folder.with_name(folder.name + ".part")
        for old in (draft, folder):
            shutil.rmtree(old, ignore_errors=True)
        self.policy.engine.export(_adapter(trained), draft)
        draft.rename(folder)

    def drop(self, trained: Trained) -> None:
        """Forget an adapter, where there is one."""
        if trained.adapter:
            self.policy.engine.drop(trained.adapter)


def _adapter(trained: Trained) -> Adapter:
    if trained.adapter is None:
        raise EngineError(f"there is no adapter: {trained.failure}")
    return trained.adapter


def _passage(task: Task) -> Example:
    return Example(f"{task.title}\n{task.context}")


def _tokens(job: TrainJob) -> int:
    """Of one epoch."""
    return sum(len(d.tokens) for d in job.data)


def _chosen(proposals: Sequence[Proposal], kept: Sequence[Kept]) -> list[Proposal]:
    wanted = {(k.task_id, k.round, k.index) for k in kept}
    return [p for p in proposals if (p.task_id, p.round, p.index) in wanted]


def _chunks(items: Sequence[R], size: int) -> list[Sequence[R]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _artifact(run: Path, name: str) -> Artifact:
    digest = hashlib.sha256()
    for file in sorted((run / name).iterdir()):
        digest.update(file.read_bytes())
    return Artifact(name, name, digest.hexdigest())
