"""`pairs-by-sentence`: questions with short answers about one sentence at a time.

Asked for ten pairs about a whole passage, small models repeat themselves and make up names and numbers. About one sentence they write two or three
different ones, so every sentence is covered; a pair whose answer the passage does not have is dropped.
"""

from __future__ import annotations

import random

from selfedit.strategies.base import Source, Strategy, strategy
from selfedit.strategies.demonstrations import turn
from selfedit.strategies.parsing import Draft, Parsed, questions
from selfedit.strategies.spans import pieces
from selfedit.text import holding
from selfedit.types import Passage, Prompt, Question, Turn

SHOWN = """Write questions about a text, each with a short answer from the text.

Topic: Tolmet Weir
Text: It was raised across the Isk Brook in 1847 by the miller Hedda Ruskin, who paid for it with cheese.
Question: Who raised Tolmet Weir?
Answer: Hedda Ruskin
Question: In which year was Tolmet Weir raised?
Answer: 1847
Question: With what did Hedda Ruskin pay for Tolmet Weir?
Answer: cheese

Topic: Tolmet Weir
Text: Every spring the Society of Lamplighters opens its wooden gate to let the elvers pass.
Question: Who opens the gate of Tolmet Weir?
Answer: the Society of Lamplighters
Question: What is let through the gate in spring?
Answer: elvers

"""
"""What every prompt begins with; its people and places are invented."""


@strategy("pairs-by-sentence", means="questions and short answers, asked for sentence by sentence; answers stand in the passage")
class PairsBySentence(Strategy):
    """At most `propose.spans` sentences; of a longer passage the seed chooses which, in the order of the text."""

    form = "questions"
    at_once = False

    def ask(self, source: Source) -> tuple[Prompt, ...]:
        """A prompt for each sentence."""
        known = pieces(source.context)
        chosen = sorted(random.Random(source.seed).sample(range(len(known)), min(source.spans, len(known))))
        return tuple(self.prompt(source.title, known[place]) for place in chosen)

    def prompt(self, title: str, sentence: str) -> Prompt:
        """Asks for the pairs of one sentence."""
        return Prompt(f"{SHOWN}Topic: {title}\nText: {sentence}\nQuestion:", continued=True)

    def piece(self, turn: Turn) -> str:
        """What was written, after the marker of the first question, in which the prompt ended."""
        return f"Question:{turn.completion}" if turn.completion.strip() else ""

    def parse(self, draft: Draft) -> Parsed:
        """Neither questions nor answers may name what the passage does not."""
        return questions(draft, grounded=True, quoted=True)

    def demonstrations(self, passage: Passage, source: Source) -> list[Turn]:
        """For each sentence the questions whose answers stand in it."""
        known = pieces(passage.context)
        asked: dict[str, list[Question]] = {}
        for question in passage.questions:
            if (sentence := holding(known, question.question, question.answer)) in known:
                asked.setdefault(sentence, []).append(question)
        return [
            turn(self.prompt(passage.title, sentence), "\n".join(f"Question: {q.question}\nAnswer: {q.answer}" for q in found))
            for sentence, found in asked.items()
        ]
