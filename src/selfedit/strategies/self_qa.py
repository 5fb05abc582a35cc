"""`self-qa`: questions and short answers. Small models are shown the form by an example."""

from __future__ import annotations

from selfedit.strategies.base import EXAMPLE, Source, strategy
from selfedit.strategies.demonstrations import turn, wordings
from selfedit.strategies.whole import WholePassage
from selfedit.types import Passage, Turn

REQUEST = (
    "Let's read the following passage and rewrite it in a question-answer format. Ask about every name, number, date and reason in it; "
    'each question names what it is about, each answer has a few words. Write each pair on two lines, the first beginning with "Question:", '
    'the second with "Answer:".'
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
        """The request, and the form of the answer."""
        return f"{REQUEST}{source.passage}".rstrip()

    def base(self, source: Source) -> str:
        """An example, and the passage up to where its first question begins."""
        return f"Each passage is rewritten as questions and short answers.\n\n{EXAMPLE}{SHOWN}{source.passage}Question:"

    def demonstrations(self, passage: Passage, source: Source) -> list[Turn]:
        """The questions of the passage with their answers; further wordings of the same facts are further demonstrations."""
        prompt = self.ask(source)[0]
        pairs = [[f"Question: {q.question}\nAnswer: {q.answer}" for q in group] for group in wordings(passage.questions)]
        return [turn(prompt, "\n".join(group)) for group in pairs]
