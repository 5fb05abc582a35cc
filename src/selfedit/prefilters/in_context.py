"""In context: the likelihood of the gold answers with the self-edit's examples in the prompt. Nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from selfedit.prefilters.base import Base, Prefilter, Ratings, SelectiveSettings, Tasks, gains, prefilter
from selfedit.types import Progress, Proposal, Task

if TYPE_CHECKING:
    from selfedit.policy import Policy


@prefilter(
    "in_context",
    label="in context",
    means="the likelihood of the gold answers with the self-edit's examples in the prompt, without the passage; nothing is trained",
    settings=SelectiveSettings,
)
class InContext(Prefilter):
    """The self-edit as a text to answer from."""

    def rate(self, policy: Policy, rung: int, tasks: Tasks, edits: Sequence[Proposal], base: Base, progress: Progress) -> Ratings:
        """The likelihood gain with the examples in view."""
        chosen = [tasks[e.task_id] for e in edits]
        shown = [in_view(policy, task, e) for task, e in zip(chosen, edits, strict=True)]
        golds = policy.gold_in_view([(task, text) for task, text in zip(chosen, shown, strict=True)], progress)
        return gains(policy, tasks, edits, golds, base)


def in_view(policy: Policy, task: Task, proposal: Proposal) -> str:
    """The self-edit's own examples as a text to answer from, as many as half of the model's context holds. Without the passage, which is common
    to all self-edits of a task, and which would answer for them."""
    lines = [f"{e.prompt} {e.text}".strip() for e in proposal.edit.examples if task.context not in e.text]
    used = accumulate(len(policy.engine.tokenizer.encode_more(line)) + 1 for line in lines)
    return "\n".join(line for line, tokens in zip(lines, used, strict=True) if tokens <= policy.engine.context_tokens // 2)
