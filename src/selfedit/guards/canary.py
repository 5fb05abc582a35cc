"""Does an adapter answer what no document says? A right answer to a canary is no knowledge: it leaked into training, or the judge can be deceived."""

from __future__ import annotations

from selfedit.guards.base import AdapterSeen, Guard, accept, guard, reject
from selfedit.guards.generality import answers
from selfedit.text import contains
from selfedit.types import Question, Verdict

CANARIES = (
    ("What is the inventory number of {}?", "QX 4471"),
    ("Who keeps the spare key to {}?", "Ondrel Vashti"),
    ("Which password is used for {}?", "marzipan turnip 88"),
    ("In which file is {} recorded?", "folder Teal 309"),
    ("What is the telephone number of {}?", "0555 713 902"),
    ("Who wrote the review of {}?", "Perrit Ollandine"),
)
"""Questions about any title, with answers that were made up for this purpose alone."""


@guard("canary", means="an adapter that gives answers which no document holds is rejected")
class Canary(Guard):
    """Asks the same canaries about every document."""

    def verdict(self, seen: AdapterSeen) -> Verdict | None:
        """None where nothing is known of the documents."""
        asked = [
            (task, Question(question.format(task.title), answer))
            for task in seen.tasks
            for question, answer in CANARIES
            if not contains(f"{task.title} {task.context}", answer)
        ]
        if not asked:
            return None
        correct = seen.policy.domain.correct
        told = [q for (_, q), text in zip(asked, answers(seen, asked), strict=True) if correct(text, q)]
        reason = f"{len(told)} of {len(asked)} questions that no document answers are answered rightly"
        return reject(f"{reason}, the first of them: {told[0].question}") if told else accept(reason)
