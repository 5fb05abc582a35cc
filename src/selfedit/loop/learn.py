"""`selfedit learn`: the best self-edit of each document is kept, and one adapter is trained on all that were kept."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.errors import EngineError
from selfedit.guards import AdapterSeen, judge
from selfedit.loop.begin import check_lengths
from selfedit.loop.evaluate import gold
from selfedit.loop.round import all_failed, answer_base, answers_before, one_round
from selfedit.loop.run import Run
from selfedit.policy import Asked
from selfedit.types import Passage, Progress, Proposal, Result, Task, TrainJob, Verdict


def learn_documents(run: Run, passages: Sequence[Passage]) -> None:
    """Learn documents. One none of whose self-edits could be chosen is learned as it is. Raises EngineError where every training failed."""
    policy = run.policy
    check_lengths(run, passages)
    tasks = run.step("tasks", Task, "Preparing questions", lambda progress: policy.domain.tasks(policy, passages, "learn", progress, gold=gold(run)))
    answer_base(run, "base", tasks)
    able = [task for task in tasks if task.reward_questions or policy.reward.needs().texts]
    round_ = one_round(run, able, 0, run.recipe.open("algorithm"))
    if all_failed(round_.candidates):
        raise EngineError("no self-edit could be kept: every training failed; `selfedit report` shows why (lower inner.optimizer.lr?)")
    compare(run, tasks, round_.chosen)
    run.step("guards", Verdict, "Checking what else changed", lambda progress: check(run, able, progress))


def compare(run: Run, tasks: Sequence[Task], best: Sequence[Proposal]) -> None:
    """One adapter on the best self-edits of all tasks (a task without any is learned by its passage), beside baselines on all documents together."""
    policy, seed, edited = run.policy, run.recipe.seed, {edit.task_id for edit in best}
    learned = [*(e for edit in best for e in edit.edit.examples), *(policy.domain.passage(task) for task in tasks if task.id not in edited)]
    after = policy.job(learned, seed)
    baselines = run.recipe.open_all("baseline", run.recipe.eval.baselines)
    jobs: dict[str, TrainJob] = {one.settings.part: job for one in baselines if (job := one.together(policy, tasks, seed, after))} | {"after": after}

    def work(progress: Progress) -> list[Result]:
        with policy.adapters(list(jobs.values()), progress) as trained:
            adapters = dict(zip(jobs, trained, strict=True))
            if failed := next((t.failure for t in trained if t.failure), None):
                raise EngineError(f"the final adapter could not be trained: {failed}")
            asked = [(name, t, task) for name, t in adapters.items() for task in tasks]
            answers = policy.answer([Asked(t.adapter, task, task.report_questions) for _, t, task in asked], progress)
            run.export(adapters["after"], "adapter")
        return [Result(name, task.id, a, t.tokens) for (name, t, task), a in zip(asked, answers, strict=True)]

    run.step("compare", Result, "Training on the best self-edits of all documents", work)
    run.sealed("adapter", "Sealing the adapter", ["adapter"])


def check(run: Run, tasks: Sequence[Task], progress: Progress) -> list[Verdict]:
    """Whether the final adapter may be used: what the recipe's guards say. They see the reward questions, never those of the report."""
    policy, before = run.policy, answers_before(run, "round-0/base", tasks)
    adapter = policy.engine.load(run.ledger.folder / "adapter")
    try:
        after = policy.answer([Asked(adapter, task, task.reward_questions) for task in tasks if task.id in before], progress)
        seen = AdapterSeen(policy, adapter, [a for task in tasks for a in before.get(task.id, ())], [a for answers in after for a in answers])
        return judge(run.recipe.open_all("guard", run.recipe.guards), "adapter", seen)
    finally:
        policy.engine.drop(adapter)
