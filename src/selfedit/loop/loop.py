"""The loop: tasks → propose → adapt → score → guard → keep → learn, every arrow written to the ledger.

`ledger.step` computes once and records; a run that was killed goes through the same lines and finds what was finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfedit.config import RestEM, Searching
from selfedit.engine.base import Progress
from selfedit.errors import EngineError
from selfedit.guards import ANCHORS, collapse, forgetting
from selfedit.loop.outer import Round, all_failed, chosen
from selfedit.loop.reliability_study import ReliabilityStudy
from selfedit.loop.rounds import of_round
from selfedit.loop.rows import Rows
from selfedit.loop.search import Search
from selfedit.rewards import needs
from selfedit.tasks.knowledge.tasks import held_out_exams, learning_exams, named_apart, training_exams
from selfedit.types import Demonstration, Passage, Result, ScoreRequest, Task, Update, Variant, Verdict


class Loop(Search, ReliabilityStudy, Rows):
    """Whole runs."""

    def learn(self, passages: Sequence[Passage]) -> None:
        """Learn documents: the best self-edit of each is kept, and one adapter is trained on all that were kept.

        A document none of whose self-edits could be chosen is learned as it is.
        """
        recipe = self.policy.recipe
        tasks = self.step("tasks", Task, "Preparing questions", lambda progress: learning_exams(self.policy, passages, progress))
        self.answer_base("base", tasks)
        able = [task for task in tasks if task.reward_questions or needs(recipe.reward).texts]
        candidates, kept = self.improve(able, 0, recipe.algorithm if isinstance(recipe.algorithm, RestEM) else RestEM())
        if all_failed(candidates):
            raise EngineError("no self-edit could be kept: every training failed; `selfedit report` shows why (lower inner.optimizer.lr?)")
        self.compare(tasks, chosen(candidates, kept))
        self.step("guards", Verdict, "Checking what else changed", self.guard)

    def train(self, passages: Sequence[Passage], held_out: Sequence[Passage], shown: Sequence[Demonstration] = ()) -> None:
        """Learn to write self-edits: each round the policy is trained on the best of its own, and measured on documents it never learns from."""
        policy = self.policy
        tasks = self.step("tasks", Task, "Preparing questions", lambda progress: training_exams(policy, passages, progress))
        apart = named_apart(held_out, tasks)
        exams = self.step("held-out", Task, "Preparing held-out questions", lambda progress: held_out_exams(policy, apart, progress))
        start = self.baselines(exams)
        measured = [start.own]  # of the policy as each round begins
        if cold := policy.recipe.cold_start.enabled:
            self.warm_up(shown)
            measured = [self.evaluate(exams, 1, "cold_start", start.strategy)]
        last: Loop = self
        if isinstance(algorithm := policy.recipe.algorithm, Searching):
            found = self.search(algorithm, tasks)
            last = self.using(found)
            measured.append(last.evaluate(exams, cold + 1, "best_strategy", found.strategy))
        rounds: list[Round] = []
        done: Update | None = None
        while not isinstance(algorithm, Searching) and len(rounds) < policy.recipe.rounds:
            rounds.append(self.improve(of_round(policy, tasks, len(rounds)), len(rounds), algorithm))
            if self.collapsed(rounds, measured):
                break
            done = self.update(rounds, done)
            measured.append(self.evaluate(exams, cold + len(rounds), f"round-{len(rounds)}", start.strategy))
        last.controls(exams, measured[-1], start)

    def measure(self, passages: Sequence[Passage], updates: Sequence[Path] = (), found: Variant | None = None) -> None:
        """The model as it came and, given the adapters of a policy in their order, the policy after each; last the strategy that a search found."""
        exams = self.step("held-out", Task, "Preparing held-out questions", lambda progress: held_out_exams(self.policy, passages, progress))
        start = self.baselines(exams)
        final = start.results
        for number, folder in enumerate(updates, start=1):
            self.policy.merge(folder)
            final = self.evaluate(exams, number, folder.name, start.strategy)
        last: Loop = self
        if found:
            last = self.using(found)
            final = last.evaluate(exams, len(updates) + 1, "best_strategy", found.strategy)
        last.controls(exams, final, start)

    def assess(self, passages: Sequence[Passage]) -> None:
        """How far rewards and screens can be trusted: the same self-edits under several seeds, on documents that a policy would learn from."""
        self.trials(self.step("tasks", Task, "Preparing questions", lambda progress: training_exams(self.policy, passages, progress, gold=True)))

    def guard(self, progress: Progress) -> list[Verdict]:
        """Whether the final adapter may be used."""
        engine = self.policy.engine
        adapter = engine.load(self.ledger.folder / "adapter")
        anchors = [(engine.tokenizer.encode(a), engine.tokenizer.encode_more(b)) for a, b in ANCHORS]
        before, after = (engine.score([ScoreRequest(a, b, who) for a, b in anchors]) for who in (None, adapter))
        engine.drop(adapter)
        return [forgetting(before, after, self.policy.recipe.guards.max_forgetting)]

    def collapsed(self, rounds: Sequence[Round], measured: Sequence[Sequence[Result]]) -> bool:
        """Whether the policy only learned to agree with itself: a guard's verdict after each round that has votes and one before it."""
        if len(rounds) < 2 or not needs(self.policy.recipe.reward).samples:
            return False
        (before, _), (after, _) = rounds[-2:]
        found = [verdict for verdict in [collapse(before, after, *measured[-2:])] if verdict]
        verdicts = self.step(f"round-{len(rounds) - 1}/guards", Verdict, "Checking the vote", lambda _: found)
        return any(verdict.decision == "stop" for verdict in verdicts)
