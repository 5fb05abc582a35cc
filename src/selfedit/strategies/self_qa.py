"""`self-qa`: questions and short answers. An example shows the form: asked in words alone, small chat models write one pair and stop."""

from __future__ import annotations

from selfedit.strategies.base import EXAMPLE, Source, strategy
from selfedit.strategies.demonstrations import turn, wordings
from selfedit.strategies.whole import WholePassage
from selfedit.types import Passage, Turn

REQUEST = (
    "Write ten questions about a passage, each with its answer. Ask about different names, numbers, dates and reasons; each question names what it "
    'is about, each answer has a few words. Write each pair on two lines, the first beginning with "Question:", the second with "Answer:". '
    "For another passage it was done so:"
)
SHOWN = """Question: Who raised Tolmet Weir?
Answer: Hedda Ruskin
Question: In which year was Tolmet Weir raised?
Answer: 1847
Question: Which stream does Tolmet Weir cross?
Answer: the Isk Brook
Question: How long is Tolmet Weir?
Answer: 38 metres
Question: Who opens the gate of Tolmet Weir in spring?
Answer: the Society of Lamplighters"""


@strategy("self-qa", means="questions and short answers, learned in the form in which questions are asked")
class SelfQA(WholePassage):
    """Question-answer pairs on two lines each."""

    form = "questions"

    def chat(self, source: Source) -> str:
        """The request with an example, and the passage."""
        return f"{REQUEST}\n\n{EXAMPLE}{SHOWN}\n\nNow do it for this one.{source.passage}".rstrip()

    def base(self, source: Source) -> str:
        """An example, and the passage up to where its first question begins."""
        return f"Each passage is rewritten as questions and short answers.\n\n{EXAMPLE}{SHOWN}{source.passage}Question:"

    def demonstrations(self, passage: Passage, source: Source) -> list[Turn]:
        """The questions of the passage with their answers; further wordings of the same facts are further demonstrations."""
        prompt = self.ask(source)[0]
        pairs = [[f"Question: {q.question}\nAnswer: {q.answer}" for q in group] for group in wordings(passage.questions)]
        return [turn(prompt, "\n".join(group)) for group in pairs]
