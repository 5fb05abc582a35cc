"""`span-qa` and `sentence-qa`: a question for each of the passage's short answers, one at a time, for small models.

Always a text to continue: small models follow examples better than requests.
"""

from __future__ import annotations

from selfedit.strategies.base import Source, Strategy, strategy
from selfedit.strategies.demonstrations import turn
from selfedit.strategies.parsing import Draft, Parsed, questions
from selfedit.strategies.spans import Span, pieces, spans
from selfedit.types import Passage, Prompt, Turn

SHOWN = (
    (
        "It was raised across the Isk Brook in 1847 by the miller Hedda Ruskin, who paid for it with cheese.",
        "1847",
        "In which year was Tolmet Weir raised?",
    ),
    (
        "Every spring the Society of Lamplighters opens its wooden gate to let the elvers pass.",
        "elvers",
        "What passes the gate of Tolmet Weir in spring?",
    ),
    (
        "It was raised across the Isk Brook in 1847 by the miller Hedda Ruskin, who paid for it with cheese.",
        "Hedda Ruskin",
        "Who raised Tolmet Weir?",
    ),
    ("It is 38 metres long and built of grey slate.", "grey slate", "What is Tolmet Weir built of?"),
)
"""(sentence, answer, question) of the few-shot prompt; its people and places are invented."""


class SpanQA(Strategy):
    """Asks for the question that has a given answer."""

    form = "questions"
    at_once = False

    def given(self, span: Span) -> str:
        """What the question will be answered with."""
        return span.answer

    def ask(self, source: Source) -> tuple[Prompt, ...]:
        """A prompt for each short answer."""
        found = spans(source.title, source.context, source.spans, source.seed)
        return tuple(self.prompt(source.title, span) for span in found)

    def prompt(self, title: str, span: Span) -> Prompt:
        """Asks for the question whose answer is the span."""
        shown = "".join(f"Topic: Tolmet Weir\nText: {text}\nAnswer: {answer}\nQuestion: {question}\n\n" for text, answer, question in SHOWN)
        asked = f"Topic: {title}\nText: {span.sentence}\nAnswer: {span.answer}\nQuestion:"
        return Prompt(f"Write the question that has the given answer.\n\n{shown}{asked}", continued=True, given=self.given(span))

    def piece(self, turn: Turn) -> str:
        """The first line that was written is the question, the answer was given."""
        said = turn.completion.strip()
        return f"Question: {said.splitlines()[0].strip()}\nAnswer: {turn.prompt.given}" if said else ""

    def parse(self, draft: Draft) -> Parsed:
        """Questions may only name what the passage names: small writers make things up."""
        return questions(draft, grounded=True)

    def demonstrations(self, passage: Passage, source: Source) -> list[Turn]:
        """The questions of the passage whose answers stand in one of its sentences."""
        known = pieces(passage.context)
        found = [(q, next(piece for piece in known if q.answer in piece)) for q in passage.questions if any(q.answer in piece for piece in known)]
        return [turn(self.prompt(passage.title, Span(q.answer, sentence)), q.question) for q, sentence in found]


@strategy("span-qa", means="a question for each of the passage's names, numbers and phrases, one at a time: for small models")
class ShortAnswers(SpanQA):
    """Answered with the span itself."""


@strategy("sentence-qa", means="the same questions, answered with the whole sentence: for models too small to ask precisely")
class WholeSentences(SpanQA):
    """Answered with the sentence that the span stands in."""

    def given(self, span: Span) -> str:
        """The whole sentence."""
        return span.sentence
