"""A model's own chat template, rendered the same on every day and without thinking."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import cycle, product
from typing import TYPE_CHECKING, Any

from selfedit.errors import ModelError
from selfedit.models.libraries import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TODAY = datetime(2024, 7, 26)
"""The day it is in every prompt, which is what Llama 3.1 takes for today: a prompt must not depend on the day it is written."""

_SETTINGS = {"enable_thinking": False, "thinking": False, "date_string": TODAY.strftime("%d %b %Y")}
_MARK = "@@selfedit@@"
_OPEN_THINKING = re.compile(r"(?:([<\[])([\w:]*think|thought|thinking|reasoning)([>\]])|<\|START_THINKING\|>)\s*$", re.IGNORECASE)
_FORMS: tuple[Callable[[str], str], ...] = (str, str.strip, str.rstrip)
"""How templates write what is said."""
_ADVICE = 'use the plain format (inner.format = "plain")'


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a template writes around a user's text and the answer: `before` user `between` answer `after`.

    `prompt_end` is the part of `between` that the template itself writes at the end of a prompt; the rest are control tokens that it puts before
    every answer. `lead` are blanks before an answer that no prompt ends with: they belong to the answer. `trims` says whether blanks around an
    answer are cut off.
    """

    before: str
    prompt_end: str
    between: str
    lead: str
    after: str
    trims: bool


class ChatTemplate:
    """The chat template of a tokenizer. Raises ModelError where it fails, or leaves out what is said."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def prompt(self, user: str, before: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
        """A prompt in pieces, what the template writes and what was said by turns: template, user's text, template up to where the answer begins.

        After the exchanges `before` (user, assistant) there are two pieces more for each text of theirs.
        """
        said = [text for exchange in before for text in exchange] + [user]
        around, written = self.exchange, self._prompt(*said)
        pieces = self._cut(written, said) if before else self._around(written)
        if not pieces or not pieces[-1].endswith(around.prompt_end):
            raise ModelError(f"the model's chat template writes other words around {user[:40]!r} than around other texts; {_ADVICE}")
        return (*pieces[:-1], pieces[-1].removesuffix(around.prompt_end) + around.between)

    def _around(self, written: str) -> tuple[str, ...]:
        """A prompt of one turn, cut where the template begins and ends one; nothing where it wrote something else."""
        around = self.exchange
        if not (written.startswith(around.before) and written.endswith(around.prompt_end)):
            return ()
        return around.before, written[len(around.before) : len(written) - len(around.prompt_end)], around.prompt_end

    def _cut(self, written: str, said: Sequence[str]) -> tuple[str, ...]:
        """A conversation, cut where the template puts marks that stand for what is said; nothing where it wrote something else."""
        marks = [f"{_MARK}{n}{_MARK}" for n in range(len(said))]
        rest, template = self._prompt(*marks), []
        for mark in marks:
            piece, _, rest = rest.partition(mark)
            template.append(piece)
        for forms in product(_FORMS, repeat=2):  # of users' texts, and of the assistant's
            texts = [form(text) for text, form in zip(said, cycle(forms), strict=False)]
            pieces = (*(piece for pair in zip(template, texts, strict=True) for piece in pair), rest)
            if "".join(pieces) == written:
                return pieces
        return ()

    @cached_property
    def exchange(self) -> Exchange:
        """How the template writes one exchange, found out with marks in the place of the texts."""
        before, mark, prompt_end = self._prompt(_MARK).rpartition(_MARK)
        said = self._render(_MARK, f"  {_MARK}").split(_MARK)
        if not mark or len(said) < 3:
            raise ModelError(f"the model's chat template leaves out what is said; {_ADVICE}")
        between, after = said[-2:]
        trims = not between.endswith("  ")
        between = between if trims else between[:-2]
        extra = between.removeprefix(prompt_end) if between.startswith(prompt_end) else ""
        lead = "" if extra.strip() else extra
        return Exchange(before, prompt_end, prompt_end + extra.removesuffix(lead), lead, after, trims)

    def _prompt(self, *said: str) -> str:
        """What was said, the user first and last, up to where the answer begins; a think block that the template opens is closed."""
        written = self._render(*said)
        opened = _OPEN_THINKING.search(written)
        if opened is None:
            return written
        close = f"{opened[1]}/{opened[2]}{opened[3]}" if opened[1] else "<|END_THINKING|>"
        return f"{written.rstrip()}\n{close}\n\n"

    @cached_property
    def _in_parts(self) -> bool:
        """Whether messages are lists of parts: templates of multimodal models leave out plain strings, or fail."""
        return not self._shows_mark(_MARK) and self._shows_mark([{"type": "text", "text": _MARK}])

    def _shows_mark(self, content: object) -> bool:
        try:
            return _MARK in self._apply([{"role": "user", "content": content}], True)
        except ModelError:
            return False

    def _render(self, *said: str) -> str:
        """What the user and the assistant said by turns; where the user spoke last, a prompt for an answer."""
        turns = zip(cycle(("user", "assistant")), said, strict=False)
        messages = [{"role": role, "content": [{"type": "text", "text": text}] if self._in_parts else text} for role, text in turns]
        return self._apply(messages, len(said) % 2 == 1)

    def _apply(self, messages: list[dict[str, Any]], answer_follows: bool) -> str:
        from jinja2 import TemplateError

        apply: Any = self.tokenizer.apply_chat_template
        try:
            return str(apply(messages, tokenize=False, add_generation_prompt=answer_follows, chat_template=self._template, **_SETTINGS))
        except (TemplateError, ValueError, TypeError) as error:
            raise ModelError(f"the model's chat template fails: {first_line(error)}; {_ADVICE}") from error

    @cached_property
    def _template(self) -> str:
        """The template, its clock stopped at TODAY."""
        template = str(self.tokenizer.get_chat_template())
        return _STOPPED_CLOCK + template if "strftime_now" in template else template


def _stopped_clock() -> str:
    """A macro in the place of the function that templates ask for the time."""
    codes = [f"%{sign}{letter}" for sign in ("-", "") for letter in "aAbBdHIjmMpSUwWyY"]
    chain = "".join(f"|replace('{code}', '{TODAY.strftime(code)}')" for code in codes)
    return "{%- macro strftime_now(format) -%}{{ format" + chain + " }}{%- endmacro -%}{{ '' }}"


_STOPPED_CLOCK = _stopped_clock()
