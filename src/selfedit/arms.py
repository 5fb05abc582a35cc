"""The arms of a comparison: each trains adapters in its own way, and all answer the same report questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfedit.engine.base import Progress
from selfedit.errors import EngineError
from selfedit.policy import derive
from selfedit.steps import Steps, artifact
from selfedit.types import Artifact, Example, Proposal, Result, Task, TrainJob


class Arms(Steps):
    """What is measured beside what."""

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

    def compare(self, tasks: Sequence[Task], best: Sequence[Proposal]) -> None:
        """One adapter on the best self-edits of all tasks, beside one on the passages alone, and one on the passages with as many tokens."""
        policy, seed = self.policy, self.policy.recipe.seed
        passages = [_passage(t) for t in tasks]
        chosen = [e for p in best for e in p.edit.examples]
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
        self.step("adapter", Artifact, "Sealing the adapter", lambda progress: [artifact(self.ledger.folder, "adapter")])

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


def _passage(task: Task) -> Example:
    return Example(f"{task.title}\n{task.context}")


def _tokens(job: TrainJob) -> int:
    """Of one epoch."""
    return sum(len(d.tokens) for d in job.data)
