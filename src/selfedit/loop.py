"""The loop: tasks → propose → adapt → score → guard → keep → learn, every arrow written to the ledger.

`ledger.step` computes once and records; a run that was killed goes through the same lines and finds what was finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfedit.arms import Arms
from selfedit.engine.base import Progress
from selfedit.examiner import examine
from selfedit.guards import ANCHORS, forgetting
from selfedit.rounds import chosen
from selfedit.trials import Trials
from selfedit.types import Passage, ScoreRequest, Task, Verdict


class Loop(Trials, Arms):
    """Whole runs."""

    def learn(self, passages: Sequence[Passage]) -> None:
        """Learn documents: the best self-edit of each is kept, and one adapter is trained on all that were kept."""
        tasks = self.step("tasks", Task, "Preparing questions", lambda progress: examine(self.policy, passages, progress))
        self.answer_base("base", tasks)
        proposals, kept = self.improve(tasks, 0)
        self.compare(tasks, chosen(proposals, kept))
        self.step("guards", Verdict, "Checking what else changed", self.guard)

    def train(self, passages: Sequence[Passage], held_out: Sequence[Passage]) -> None:
        """Learn to write self-edits: each round the policy is trained on the best of its own, and measured on documents it never learns from."""
        policy = self.policy
        tasks = self.step("tasks", Task, "Preparing questions", lambda progress: examine(policy, passages, progress))
        exams = self.step("held-out", Task, "Preparing held-out questions", lambda progress: examine(policy, held_out, progress))
        self.baselines(exams)
        self.evaluate(exams, 0, "untrained")
        for round_ in range(policy.recipe.rounds):
            proposals, kept = self.improve(tasks, round_)
            self.update(round_, chosen(proposals, kept))
            self.evaluate(exams, round_ + 1, f"round-{round_ + 1}")

    def measure(self, passages: Sequence[Passage], rounds: Sequence[Path] = ()) -> None:
        """Each strategy of the recipe as an arm of its own; or, given the adapters of its rounds in order, the policy that they made."""
        exams = self.step("held-out", Task, "Preparing held-out questions", lambda progress: examine(self.policy, passages, progress))
        self.baselines(exams)
        for folder in rounds:
            self.merge(folder)
        if rounds:
            self.evaluate(exams, 0, f"round-{len(rounds)}")
        else:
            for number, strategy in enumerate(self.policy.recipe.propose.strategies):  # as the round: self-edits are told apart by it
                self.evaluate(exams, number, strategy, (strategy,))

    def assess(self, passages: Sequence[Passage]) -> None:
        """How far rewards and screens can be trusted: the same self-edits under several seeds, on documents that a policy would learn from."""
        self.trials(self.step("tasks", Task, "Preparing questions", lambda progress: examine(self.policy, passages, progress)))

    def guard(self, progress: Progress) -> list[Verdict]:
        """Whether the final adapter may be used."""
        engine = self.policy.engine
        adapter = engine.load(self.ledger.folder / "adapter")
        anchors = [(engine.tokenizer.encode(a), engine.tokenizer.encode_more(b)) for a, b in ANCHORS]
        before, after = (engine.score([ScoreRequest(a, b, who) for a, b in anchors]) for who in (None, adapter))
        engine.drop(adapter)
        return [forgetting(before, after, self.policy.recipe.guards.max_forgetting)]
