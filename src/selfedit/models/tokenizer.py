"""Text to token ids and back, over a transformers tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from selfedit.errors import ModelError
from selfedit.models.libraries import first_line
from selfedit.types import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "@@selfedit@@"


class HFTokenizer:
    """Implements `engine.base.Tokenizer`. Names of special tokens inside a text are read as text, so a document can end no turn."""

    def __init__(self, inner: PreTrainedTokenizerBase) -> None:
        self.inner = inner
        first = inner("a").input_ids[:1]
        self._begin: Tokens = tuple(first) if first == [inner.bos_token_id] else ()
        added = {token for token, word in inner.added_tokens_decoder.items() if word.special}
        self._special = frozenset(added | set(inner.all_special_ids))

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` may be used."""
        return bool(self.inner.chat_template)

    @cached_property
    def end(self) -> Tokens:
        """The token that the chat template puts after an answer; for a base model the token that ends a text; or nothing."""
        turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}]
        after = self._render(turn, answer_follows=False).rpartition(_MARK)[2] if self.has_chat_template else ""
        special = [token for token in self._read(after) if token in self._special]
        if special:
            return (special[0],)
        return () if self.inner.eos_token_id is None else (self.inner.eos_token_id,)

    def encode(self, text: str) -> Tokens:
        """Plain text; with the token that begins a text, where the model has one."""
        return self._begin + self.encode_more(text)

    def encode_more(self, text: str) -> Tokens:
        """Text that follows other text: no beginning token."""
        return tuple(self.inner(text, add_special_tokens=False, split_special_tokens=True, verbose=False).input_ids)

    def chat(self, user: str) -> Tokens:
        """One user turn in the model's chat template, up to where the answer begins. Raises ModelError where there is no template."""
        if not self.has_chat_template:
            raise ModelError('the model has no chat template; use the plain format (inner.format = "plain")')
        if self._special.isdisjoint(self._read(user)):
            return self._read(self._render([{"role": "user", "content": user}]))
        before, _, after = self._render([{"role": "user", "content": _MARK}]).partition(_MARK)
        return self._read(before) + self.encode_more(user) + self._read(after)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        return str(self.inner.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _render(self, turns: list[dict[str, str]], *, answer_follows: bool = True) -> str:
        from jinja2 import TemplateError

        try:
            return str(self.inner.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer_follows))
        except TemplateError as error:
            raise ModelError(f'the model\'s chat template fails: {first_line(error)}; use the plain format (inner.format = "plain")') from error

    def _read(self, template_text: str) -> Tokens:
        """Token ids of text that the template wrote: its names of special tokens are those tokens."""
        return tuple(self.inner(template_text, add_special_tokens=False, verbose=False).input_ids)
