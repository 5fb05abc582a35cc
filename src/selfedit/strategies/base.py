"""What every strategy is: how a self-edit is asked for, and how what comes back is read. `@strategy` registers one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from selfedit.errors import ConfigError
from selfedit.parts import Part, Registry, Settings
from selfedit.strategies.parsing import LINES, Draft, Parsed, questions, statements
from selfedit.text import finished
from selfedit.types import Directives, Dropped, Example, Passage, Prompt, SelfEdit, Turn

Form = Literal["statements", "questions"]
"""What a strategy writes: statements, or questions with answers."""
EXAMPLE = """Passage:
Tolmet Weir
Tolmet Weir was raised across the Isk Brook in 1847 by the miller Hedda Ruskin. It is 38 metres long and built of grey slate. Every spring the \
Society of Lamplighters opens its wooden gate to let the elvers pass.

"""
"""The passage of few-shot prompts; its people and places are invented."""
STANDALONE = "Write one on each line, as a complete sentence that can be understood without the passage and names what it is about."


@dataclass(frozen=True, slots=True)
class Source:
    """What a self-edit is written from.

    `seed` decides where a strategy has a choice, `spans` is how many short answers or sentences are asked about at most.
    """

    title: str
    context: str
    chat: bool
    seed: int = 0
    spans: int = LINES // 2

    @property
    def passage(self) -> str:
        """The passage as it stands in prompts."""
        return f"\n\nPassage:\n{self.title}\n{self.context}\n\n"


class Strategy(Part):
    """A way of writing self-edits."""

    form: Form = "statements"
    at_once = True
    """Whether it asks once for the whole passage, so that a single completion is a self-edit."""
    has_text = True
    """Whether its self-edits hold examples; without any, the domain has to make training data of the task itself."""
    directives: Directives = ()
    """Settings of the inner loop that its self-edits carry, where the policy sets none itself."""

    @property
    def name(self) -> str:
        """What it is registered as."""
        return str(self.settings.part)

    @property
    def means(self) -> str:
        """What it writes, in words."""
        return strategy.get(self.name).means

    def ask(self, source: Source) -> tuple[Prompt, ...]:
        """What the policy is asked, one prompt for each turn; none where nothing is to be written."""
        raise NotImplementedError(f"strategy {self.name} asks nothing")

    def piece(self, turn: Turn) -> str:
        """What one turn adds to the text that is read."""
        return turn.completion

    def parse(self, draft: Draft) -> Parsed:
        """The training examples of the text, and what was left out with the reason."""
        return statements(draft) if self.form == "statements" else questions(draft)

    def demonstrations(self, passage: Passage, source: Source) -> list[Turn]:
        """Prompts with what a good writer answers, made of the passage's questions; none where nothing can be made of them."""
        return []

    def build(self, title: str, context: str, turns: Sequence[Turn], seed: int = 0) -> SelfEdit:
        """Make training examples of what was written; the passage is the last one (SEAL section 4.1). What is left out has its reason.

        `seed` is the self-edit's, for strategies that have a choice without writing anything.
        """
        pieces, cut = [], []
        for turn in turns:
            text, broken = finished(piece) if (piece := self.piece(turn)) == turn.completion and turn.finish_reason == "length" else (piece, "")
            pieces.append(text)
            cut += [Dropped(broken, "cut off at the token limit")] if broken else []
        parsed = self.parse(Draft(title, context, turns[0].prompt.text if turns else "", "\n".join(pieces), seed))
        examples = (*parsed.examples, Example(f"{title}\n{context}"))
        return SelfEdit(self.name, tuple(turns), examples, (*parsed.dropped, *cut), directives=self.directives)

    def directed(self, title: str, context: str, edit: SelfEdit, directives: Directives) -> SelfEdit:
        """A self-edit with other directives. A strategy whose examples follow from directives makes them here, anew."""
        return replace(edit, directives=directives)


def _of_function(name: str, function: Callable[..., Any], form: Form = "statements") -> Callable[[Any], Strategy]:
    """A strategy made of `function(source, settings)`, which returns the text of one prompt, or several; `form` says how the answer is read."""
    if form not in ("statements", "questions"):
        raise ConfigError(f"strategy '{name}': there is no form '{form}'; there are statements and questions")

    class Function(Strategy):
        def ask(self, source: Source) -> tuple[Prompt, ...]:
            asked = function(source, self.settings)
            texts = [asked] if isinstance(asked, str | Prompt) else list(asked)
            return tuple(text if isinstance(text, Prompt) else Prompt(text, continued=not source.chat) for text in texts)

    Function.form = form
    return Function


strategy = Registry("strategy", Strategy, wrap=_of_function, typed=False)
"""`@strategy(name, means=..., settings=..., form=...)` registers a subclass of Strategy, or a function of (source, settings)."""


def find(name: str, settings: Mapping[str, Settings] | None = None) -> Strategy:
    """The strategy of this name, bound to its settings. Raises ConfigError that names the nearest one."""
    entry = strategy.get(name)
    return entry.build((settings or {}).get(name) or entry.settings())


def joined(choice: str, chosen: Sequence[Turn], edits: Sequence[SelfEdit]) -> SelfEdit:
    """Self-edits of one passage as one, named after the `choice`: every example once, the passage last; the turn in which it was `chosen` first."""
    passage = edits[0].examples[-1:]
    examples = dict.fromkeys(e for edit in edits for e in edit.examples if e not in passage)
    turns = (*chosen, *(turn for edit in edits for turn in edit.turns))
    dropped = tuple(piece for edit in edits for piece in edit.dropped)
    directives = tuple(directive for edit in edits for directive in edit.directives)
    return SelfEdit(choice, turns, (*examples, *passage), dropped, picked=bool(chosen), directives=directives)
