"""The rows of a comparison: each trains adapters in its own way, and all answer the same report questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from selfedit.algorithms import rest_em
from selfedit.config import Propose
from selfedit.engine.base import Progress
from selfedit.errors import EngineError
from selfedit.loop.cells import STRIDE, Cells, Edits, Trial, matched, tokens_of
from selfedit.loop.outer import chosen
from selfedit.store.artifacts import check, seal
from selfedit.text import ask
from selfedit.types import Artifact, Example, Proposal, Question, Result, Task


@dataclass(frozen=True, slots=True)
class Untrained:
    """What the model as it came wrote for the held-out documents, the strategy it does best with, and what came of that.

    `own` came of the self-edits that it wrote as a policy writes: with that strategy, or with those that it picked itself.
    """

    edits: Edits
    strategy: str
    results: Sequence[Result]
    own: Sequence[Result]


class Rows(Cells):
    """What is measured beside what."""

    # ------------------------------------------------------------ the comparison of train and eval

    def baselines(self, tasks: Sequence[Task]) -> Untrained:
        """The rows of `eval.baselines` that begin with the model as it came; to be measured before anything is merged into it."""
        recipe, wanted = self.policy.recipe, self.policy.recipe.eval.baselines
        K, strategies = recipe.propose.candidates, recipe.propose.choices
        several = {"random_edit", "best_of_k", "all_edits", "more_edits"}.intersection(wanted)
        if "base" in wanted:
            self.answer_base("base", tasks)
        if "passage_only" in wanted:
            self.row("passage_only", tasks, lambda task, seed: self.one(task, seed, [_passage(task)]))
        number = max(len(strategies), K if several else 1) if several or "untrained" in wanted else 0
        edits = self.write("untrained", tasks, 0, self.writing(strategies, number)) if number else {}
        strategy, results = self.strategies(tasks, tuple(dict.fromkeys(strategies)), edits) if "untrained" in wanted else (strategies[0], [])
        own = self.evaluate(tasks, 0, "untrained_picks", strategy) if recipe.propose.pick == "policy" else results
        if "random_edit" in wanted:
            self.row("random_edit", tasks, lambda task, seed: self.one(task, seed, self.drawn(edits[task.id, seed][:K], seed).edit.examples))
        if "best_of_k" in wanted:
            self.best_of_k(tasks, {key: group[:K] for key, group in edits.items()})
        if "all_edits" in wanted:
            self.row("all_edits", tasks, lambda task, seed: self.one(task, seed, _together(edits[task.id, seed][:K])))
        if "oracle" in wanted:
            self.oracle(tasks)
        return Untrained({key: group[:K] for key, group in edits.items()}, strategy, results, own)

    def strategies(self, tasks: Sequence[Task], strategies: Sequence[str], edits: Edits) -> tuple[str, list[Result]]:
        """One unselected self-edit of each strategy. The `untrained` row is the strategy that does best, judged by the reward questions."""

        def plan(strategy: str, task: Task, seed: int) -> list[Trial]:
            first = next(p for p in edits[task.id, seed] if p.edit.strategy == strategy)
            choosing = task.reward_questions if len(strategies) > 1 else ()
            return [(self.job(task, seed, first.edit.examples), (*task.report_questions, *choosing))]

        if len(strategies) == 1:
            return strategies[0], self.row("untrained", tasks, partial(plan, strategies[0]))
        found = {strategy: self.row(strategy, tasks, partial(plan, strategy)) for strategy in strategies}
        best = max(strategies, key=lambda strategy: _correct(r for r in found[strategy] if r.role == "reward"))
        same = [replace(r, row="untrained") for r in found[best] if r.role == "report"]
        return best, self.step("evaluate/untrained", Result, f"The best strategy is {best}", lambda progress: same)

    def evaluate(self, tasks: Sequence[Task], number: int, row: str, strategy: str) -> list[Result]:
        """The policy after `number` updates as an row: one unselected self-edit of each task, and an adapter on it.

        It is written with the strategy unless the policy picks; what it picks before any update has numbers of its own, beyond those of `untrained`.
        """
        recipe = self.policy.recipe
        picks = recipe.propose.pick == "policy"
        settings = recipe.propose.model_copy(update={"candidates": 1}) if picks else self.writing((strategy,), 1)
        edits = self.write(row, tasks, number, settings, first=0 if number else STRIDE * recipe.eval.seeds)
        return self.row(row, tasks, lambda task, seed: self.one(task, seed, edits[task.id, seed][0].edit.examples))

    def writing(self, strategies: Sequence[str], candidates: int) -> Propose:
        """So many self-edits of each task, with strategies in turn."""
        taken = {"strategies": tuple(strategies), "candidates": candidates, "pick": "turns", "mix": 1}
        return self.policy.recipe.propose.model_copy(update=taken)

    def best_of_k(self, tasks: Sequence[Task], edits: Edits) -> None:
        """The best of K self-edits by its reward, as a round selects it (without any reward: the first), trained anew before it is asked."""
        recipe, best = self.policy.recipe, dict[tuple[str, int], Proposal]()
        base = self.reward_base("evaluate/best_of_k/base", tasks)
        for seed in range(recipe.eval.seeds):
            own = range(seed * recipe.inner.seeds, (seed + 1) * recipe.inner.seeds)
            written = [p for task in tasks for p in edits[task.id, seed]]
            candidates = self.scored(f"evaluate/best_of_k/candidates/{seed}-", tasks, written, base, own)
            best |= {(p.task_id, seed): p for p in chosen(candidates, rest_em.select(candidates, 1))}
        if not best:
            self.leave_out("best_of_k", "no self-edit of any document has a reward to choose it by")
            return
        self.row("best_of_k", tasks, lambda task, seed: self.one(task, seed, best.get((task.id, seed), edits[task.id, seed][0]).edit.examples))

    def oracle(self, tasks: Sequence[Task]) -> None:
        """Learn the report questions themselves, in other wordings than those asked: about as good as a self-edit can be."""
        wordings = [len(_wordings(task)[question.fact]) for task in tasks for question in task.report_questions]
        if lonely := sum(n < 2 for n in wordings):
            self.leave_out("oracle", f"{lonely} of {len(wordings)} report questions have no other wording to learn from")
            return

        def plan(task: Task, seed: int) -> list[Trial]:
            return [(self.job(task, seed, [*(_exchange(task, q) for q in learned), _passage(task)]), asked) for learned, asked in _folds(task)]

        self.row("oracle", tasks, plan)

    def controls(self, tasks: Sequence[Task], final: Sequence[Result], start: Untrained) -> None:
        """As many tokens for each adapter as the final row was trained on, over the same weights: of the passage, and of untrained self-edits."""
        wanted, trained = (
            self.policy.recipe.eval.baselines,
            final is not start.results,
        )  # else nothing was merged, and they are the final ones themselves
        tokens = {(r.task_id, r.seed): r.tokens for r in final}

        def passage(task: Task, seed: int) -> list[Trial]:
            return [(matched(self.job(task, seed, [_passage(task)]), tokens[task.id, seed]), task.report_questions)]

        def edits(task: Task, seed: int) -> list[Trial]:
            group, enough = sorted(start.edits[task.id, seed], key=lambda p: p.edit.strategy != start.strategy), tokens[task.id, seed]
            jobs = [self.job(task, seed, _together(group[:n])) for n in range(1, len(group) + 1)]
            return [(matched(next((job for job in jobs if tokens_of(job) >= enough), jobs[-1]), enough), task.report_questions)]

        if "token_matched" in wanted:
            if final:
                self.row("token_matched", tasks, passage)
            else:
                self.leave_out("token_matched", "there is no row to match; name `untrained` too")
        if "more_edits" in wanted:
            if trained:
                self.row("more_edits", tasks, edits)
            else:
                self.leave_out("more_edits", "there is no trained policy whose tokens it could match")

    # ------------------------------------------------------------ the comparison of learn

    def compare(self, tasks: Sequence[Task], best: Sequence[Proposal]) -> None:
        """One adapter on the best self-edits of all tasks, beside one on the passages alone, and one on the passages with as many tokens.

        A task without any of the best is learned by its passage.
        """
        policy, seed, edited = self.policy, self.policy.recipe.seed, {p.task_id for p in best}
        learned = [*(e for p in best for e in p.edit.examples), *(_passage(task) for task in tasks if task.id not in edited)]
        after, plain = policy.job(learned, seed), policy.job([_passage(t) for t in tasks], seed)
        jobs = {"passage_only": plain, "token_matched": matched(plain, tokens_of(after)), "after": after}

        def work(progress: Progress) -> list[Result]:
            with policy.adapters(list(jobs.values()), progress) as adapters:
                trained = dict(zip(jobs, adapters, strict=True))
                if failed := next((t.failure for t in adapters if t.failure), None):
                    raise EngineError(f"the final adapter could not be trained: {failed}")
                answers = policy.answer([(t.adapter, task, task.report_questions) for t in adapters for task in tasks], progress)
                self.export(trained["after"], "adapter")
            pairs = [(row, t, task) for row, t in trained.items() for task in tasks]
            return [Result(row, task.id, a, t.tokens) for (row, t, task), a in zip(pairs, answers, strict=True)]

        self.step("compare", Result, "Training on the best self-edits of all documents", work)
        [sealed] = self.step("adapter", Artifact, "Sealing the adapter", lambda progress: [seal(self.ledger.folder, "adapter")])
        check(self.ledger.folder, sealed)


def _passage(task: Task) -> Example:
    return Example(f"{task.title}\n{task.context}")


def _together(edits: Iterable[Proposal]) -> list[Example]:
    """The examples of several self-edits; what several say in the same words, the passage above all, stands there once."""
    return list(dict.fromkeys(example for p in edits for example in p.edit.examples))


def _exchange(task: Task, question: Question) -> Example:
    """A question as it will be asked, with its answer."""
    return Example(question.answer, prompt=ask(task.title, question.question))


def _wordings(task: Task) -> dict[str | None, list[Question]]:
    """The report questions by what they ask for. One without a fact has no other wording, and several without one are none of each other."""
    found: dict[str | None, list[Question]] = {None: []}
    for question in task.report_questions:
        if question.fact is not None:
            found.setdefault(question.fact, []).append(question)
    return found


def _folds(task: Task) -> list[tuple[list[Question], tuple[Question, ...]]]:
    """(learned, asked): every wording is asked once, of an adapter that learned all the others."""
    facts = [group for group in _wordings(task).values() if group]
    return [
        ([q for group in facts for n, q in enumerate(group) if n != place], tuple(group[place] for group in facts if place < len(group)))
        for place in range(max(map(len, facts)))
    ]


def _correct(results: Iterable[Result]) -> int:
    """Right answers, of those that anybody knows."""
    return sum(answer.correct is True for result in results for answer in result.answers)
