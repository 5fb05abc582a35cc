"""Words to tokens: prompts, questions, replies and training examples in the model's chat template or as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfedit.engine.base import Tokenizer
from selfedit.text import cue
from selfedit.types import Datum, Example, Prompt, Tokens, Turn


@dataclass(frozen=True, slots=True)
class Renderer:
    """How texts are put to a model. `plain`: questions are put as plain text also where there is a chat template."""

    tokenizer: Tokenizer
    plain: bool = False

    @property
    def in_chat(self) -> bool:
        """Whether questions are put in the chat template."""
        return self.tokenizer.has_chat_template and not self.plain

    @property
    def answer_stop(self) -> tuple[str, ...]:
        """Where an answer ends besides at an end token: as plain text, at the end of its line."""
        return () if self.in_chat else ("\n",)

    def prompt(self, prompt: Prompt) -> Tokens:
        """A user's turn in the chat template, or a text to continue."""
        return self.tokenizer.encode(prompt.text) if prompt.continued else self.tokenizer.chat(prompt.text)

    def ask(self, text: str, before: Sequence[tuple[str, str]] = ()) -> Tokens:
        """A question, up to where its answer begins, after the exchanges `before` (question, answer)."""
        if self.in_chat:
            return self.tokenizer.chat(text, before)
        return self.tokenizer.encode("".join(f"{cue(asked)} {answered}\n\n" for asked, answered in before) + cue(text))

    def reply(self, text: str) -> Tokens:
        """What is to be written after a question, with the token that ends a turn."""
        return self.tokenizer.reply(text) if self.in_chat else self.tokenizer.encode_more(f" {text}") + self.tokenizer.end

    def datum(self, example: Example) -> Datum:
        """An example as tokens: a text is learned whole, of an exchange the reply alone, of pieces each by its weight, and no token ends them."""
        if example.pieces:
            return self.woven(example.pieces)
        if not example.prompt:
            tokens = self.tokenizer.encode(example.text) + self.tokenizer.end
            return Datum(tokens, (1.0,) * len(tokens))
        prompt, reply = self.ask(example.prompt), self.reply(example.text)
        return Datum(prompt + reply, (0.0,) * len(prompt) + (1.0,) * len(reply))

    def woven(self, pieces: Sequence[tuple[str, float]]) -> Datum:
        """Pieces of one text, each encoded by itself, so that the same words are the same tokens whatever stands beside them."""
        encoded = [(self.tokenizer.encode_more(text) if n else self.tokenizer.encode(text), weight) for n, (text, weight) in enumerate(pieces)]
        weights = tuple(weight for tokens, weight in encoded for _ in tokens)
        return Datum(tuple(token for tokens, _ in encoded for token in tokens), weights)

    def written(self, turn: Turn) -> tuple[Tokens, Tokens]:
        """What the policy was asked and what it wrote: the very tokens that were drawn.

        Where they are not known (a demonstration, a pick, a run of version 0.1.0) the text stands for them, with the token that ends a turn unless
        the completion was cut off: that is not taught as an end.
        """
        if turn.tokens:
            return self.prompt(turn.prompt), turn.tokens
        end = self.tokenizer.end if turn.finish_reason == "stop" else ()
        return self.prompt(turn.prompt), self.tokenizer.encode_more(turn.completion) + end
