"""Does an adapter know the facts, or only the very questions that chose it? Right answers have to survive another wording.

In the measures of knowledge editing: generality (EasyEdit, arXiv 2308.07269).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from selfedit.grouping import grouped
from selfedit.guards.base import AdapterSeen, Guard, accept, guard, reject
from selfedit.parts import Settings
from selfedit.types import Question, SampleRequest, Sampling, Task, Verdict

Pairs = Sequence[Sequence[tuple[bool, bool]]]
"""By task, for each question whether it was answered rightly as it stands, and in other words."""


class GeneralitySettings(Settings):
    """Settings of `generality`."""

    max_points: float = Field(20.0, gt=0)
    """Largest loss, in percentage points of right answers, when the reward questions are worded otherwise; an adapter is rejected if all of
    the 95 % interval is beyond it."""


@guard(
    "generality",
    means="an adapter that answers the reward questions, and not the same questions in other words, is rejected",
    settings=GeneralitySettings,
)
class Generality(Guard):
    """Other words are the domain's own."""

    def verdict(self, seen: AdapterSeen) -> Verdict | None:
        """None where no question with a known answer can be worded otherwise."""
        domain, right = seen.policy.domain, {answer.question: answer.correct for answer in seen.after}
        asked = [
            (task, question, other)
            for task in seen.tasks
            for question in task.reward_questions
            if right.get(question) is not None and (other := domain.reworded(question))
        ]
        said = answers(seen, [(task, other) for task, _, other in asked])
        by_task = grouped((task.id, (bool(right[q]), bool(domain.correct(text, other)))) for (task, q, other), text in zip(asked, said, strict=True))
        return generality(list(by_task.values()), self.settings.max_points) if by_task else None


def generality(pairs: Pairs, limit: float) -> Verdict:
    """Rejects where more than `limit` points are lost by the whole of the interval."""
    from selfedit.study import statistics

    change = statistics.paired_difference([[float(b) for _, b in of] for of in pairs], [[float(a) for a, _ in of] for of in pairs])
    right, others = (sum(one[side] for of in pairs for one in of) for side in (0, 1))
    low, mean, high = (100 * points for points in (change.low, change.mean, change.high))
    reason = (
        f"{right} of {sum(map(len, pairs))} reward questions are answered rightly, {others} in other words: {mean:+.1f} points "
        f"({low:+.1f} to {high:+.1f}), -{limit:g} are allowed (recipe: guard.generality.max_points)"
    )
    return reject(reason) if high < -limit else accept(reason)


def answers(seen: AdapterSeen, asked: Sequence[tuple[Task, Question]], learned: bool = True) -> list[str]:
    """What the adapter (or, not `learned`, the model without it) says to questions about tasks: greedy, as reward questions are put."""
    policy = seen.policy
    sampling = Sampling(policy.recipe.questions.max_tokens, stop=policy.render.answer_stop)
    adapter = seen.adapter if learned else None
    found = policy.sample([SampleRequest(policy.question(task.title, q.question), sampling, adapter) for task, q in asked]) if asked else []
    return [one.text.strip() for one in found]
