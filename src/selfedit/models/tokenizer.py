"""Text to token ids and back, over a transformers tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from selfedit.errors import ModelError
from selfedit.models.chat import ChatTemplate
from selfedit.types import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANCHORS = ("\n", "a", ".")
"""Texts to put before another, so that it is encoded as it is inside a text."""


class HFTokenizer:
    """Implements `engine.base.Tokenizer`. Names of added tokens inside a text, special or not, are read as text: a document can end no turn."""

    def __init__(self, inner: PreTrainedTokenizerBase) -> None:
        self.inner = inner
        self.template = ChatTemplate(inner)
        first = inner("a").input_ids[:1]
        self._begin: Tokens = tuple(first) if first == [inner.bos_token_id] else ()
        added = {token: word.content for token, word in inner.added_tokens_decoder.items()}
        self._control = {token: name for token, name in added.items() if name.strip(" \t\r\n▁")} | {
            token: str(inner.convert_ids_to_tokens(token)) for token in inner.all_special_ids
        }
        """Added tokens by id. Those of blanks, which Gemma has, are text."""

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` may be used."""
        return bool(self.inner.chat_template)

    @cached_property
    def end(self) -> Tokens:
        """The token that the chat template puts after an answer; for a base model the token that ends a text; or nothing."""
        if closing := self._closing:
            return closing[-1:]
        return () if self.inner.eos_token_id is None else (self.inner.eos_token_id,)

    @cached_property
    def _closing(self) -> Tokens:
        """What the template writes after an answer, up to its first control token; nothing where it has none, or fails."""
        try:
            after = self._inside(self._read, self.template.exchange.after) if self.has_chat_template else ()
        except ModelError:
            return ()
        return next((after[: i + 1] for i, token in enumerate(after) if token in self._control), ())

    @cached_property
    def ends(self) -> frozenset[int]:
        """Every token that ends an answer or a text: the chat template's and the tokenizer's."""
        return frozenset(self.end) | ({self.inner.eos_token_id} - {None})

    def used(self) -> set[int]:
        """Tokens that a prompt may have: those of any text, and what the template and the ends need. Other added tokens never occur."""
        vocabulary: dict[str, int] = self.inner.get_vocab()
        text = set(vocabulary.values()) - self._control.keys()
        try:
            template = self.chat("a") if self.has_chat_template else ()
        except ModelError:
            template = ()
        return text | {*self._begin, *template, *self.end}

    def encode(self, text: str) -> Tokens:
        """Plain text; with the token that begins a text, where the model has one."""
        return self._begin + self._as_text(text)

    def encode_more(self, text: str) -> Tokens:
        """Text that follows other text: no beginning token, and no blank where the tokenizer puts one before a text."""
        return self._inside(self._as_text, text)

    def chat(self, user: str, before: Sequence[tuple[str, str]] = ()) -> Tokens:
        """One user turn in the model's chat template, up to where the answer begins, after the exchanges `before` (user, assistant).

        Raises ModelError where there is no template.
        """
        if not self.has_chat_template:
            raise ModelError('the model has no chat template; use the plain format (inner.format = "plain")')
        first, *pieces = self.template.prompt(user, before)
        if all(self._control.keys().isdisjoint(self._read(text)) for text in pieces[::2]):
            return self._read("".join([first, *pieces]))
        encoded = [self._inside(self._read, piece) if n % 2 else self.encode_more(piece) for n, piece in enumerate(pieces)]
        return sum(encoded, self._read(first))

    def reply(self, text: str) -> Tokens:
        """What the model is to write after `chat`: the text as the template writes an answer, and the token that ends it."""
        around, closing = self.template.exchange, self._closing or self.end
        text = around.lead + (text.strip() if around.trims else text)
        before, whole = self._read(around.between), self._read(around.between + text)
        follows = whole[: len(before)] == before and self._control.keys().isdisjoint(self._read(text))
        return (whole[len(before) :] if follows else self.encode_more(text)) + closing

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        return str(self.inner.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _read(self, template_text: str) -> Tokens:
        """Token ids of text that the template wrote: its names of added tokens are those tokens."""
        return tuple(self.inner(template_text, add_special_tokens=False, verbose=False).input_ids)

    def _as_text(self, text: str) -> Tokens:
        """Token ids of a text in which no name is a control token."""
        tokens = self._read(text)
        if self._control.keys().isdisjoint(tokens):
            return tokens
        tokens = self._without_control(text)
        if found := next((self._control[t] for t in tokens if t in self._control and self._control[t] in text), None):
            before, name, after = text.partition(found)  # the vocabulary has the name as a piece of text too: cut it in two
            return self._as_text(before + name[:1]) + self.encode_more(name[1:] + after)
        return tokens

    def _without_control(self, text: str) -> Tokens:
        if self._plain is None:
            return tuple(self.inner(text, add_special_tokens=False, split_special_tokens=True, verbose=False).input_ids)
        return tuple(self._plain.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _plain(self) -> Any:
        """The tokenizer without its control tokens; None where it is not one of the `tokenizers` library."""
        from tokenizers import Tokenizer

        backend = getattr(self.inner, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            return None
        described = json.loads(backend.to_str())
        described |= {"added_tokens": [each for each in described["added_tokens"] if each["id"] not in self._control], "post_processor": None}
        return Tokenizer.from_str(json.dumps(described))

    def _inside(self, encode: Callable[[str], Tokens], text: str) -> Tokens:
        """Token ids of a text that follows other text."""
        return _after_an_anchor(encode, text) if self._puts_a_blank_first else encode(text)

    @cached_property
    def _puts_a_blank_first(self) -> bool:
        """SentencePiece tokenizers put a blank before a text, which is not there inside one."""
        return _after_an_anchor(self._read, "a") != self._read("a")


def _after_an_anchor(encode: Callable[[str], Tokens], text: str) -> Tokens:
    for anchor in _ANCHORS:
        before, whole = encode(anchor), encode(anchor + text)
        if whole[: len(before)] == before:
            return whole[len(before) :]
    return encode(text)
