"""A model and what it has learned as other harnesses ask it, by texts alone; and the bundled probes as such texts.

A conversation becomes a text that says so (`in_chat`), and is put in the chat template only when it is tokens: a text that a harness hands over can
end no turn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from selfedit.library.opening import InForce
from selfedit.loop.validate import puts
from selfedit.policy import Policy
from selfedit.retention import Probe, Put
from selfedit.retention.probes import answer_in_chat, put, text_tokens
from selfedit.types import Completion, SampleRequest, Sampling, Score, ScoreRequest, Tokens

_OPEN, _CLOSE = "\x02", "\x03"

Route = Callable[[Sequence[Probe]], list[Put]]
"""Each question as it is put to whoever answers it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A task's metric before and after learning, each with its standard error; None where there is none."""

    task: str
    metric: str
    before: float
    after: float
    error_before: float | None
    error_after: float | None


def in_chat(said: Sequence[str], begun: str = "") -> str:
    """A conversation (the user first and last) as a context; `begun` is how the answer begins."""
    return f"{_OPEN}{json.dumps(list(said), ensure_ascii=False)}{_CLOSE}{begun}"


def conversation(context: str) -> str:
    """The context itself or, of a plain text, a conversation in which the user says it."""
    return context if context.startswith(_OPEN) else in_chat([context])


def context_of(probe: Probe) -> str:
    """What stands before the answer to a probe: the conversation; before a text, nothing."""
    return in_chat(probe.said) if probe.said else ""


class TextModel:
    """A policy's model as it is now or, with a `route`, as a library answers.

    What was asked once is in `known`, so that the two models of a comparison are not asked the same twice. `digest` names the weights that answer,
    for a harness that would keep answers by the text of a question alone.
    """

    def __init__(self, policy: Policy, route: Route | None = None, known: dict[Any, Any] | None = None, digest: str = "") -> None:
        super().__init__()
        self.policy, self.route, self.known, self.digest = policy, route, {} if known is None else known, digest
        self.tokenizer = policy.engine.tokenizer
        self.most = policy.engine.context_tokens
        self._puts: dict[Probe, Put] = {}

    def write(self, asked: Sequence[tuple[str, Sampling]]) -> list[Completion]:
        """What the model writes after each context, up to where its turn ends or the sampling says."""
        requests = []
        for how, (context, sampling) in zip(self.put([context for context, _ in asked]), asked, strict=True):
            drawn = replace(sampling, stop=tuple(dict.fromkeys((*sampling.stop, *how.stop))))
            prompt = self.continued(how, context, "")[0]
            requests.append(SampleRequest(prompt[-(self.most - drawn.max_tokens) :], drawn, how.adapter))
        return self.sample(requests)

    def likelihoods(self, contexts: Sequence[str]) -> list[tuple[Tokens, Score]]:
        """The tokens of each answer that follows a conversation, and how likely they are; of a plain text, of all of it."""
        requests = []
        for how, context in zip(self.put(contexts), contexts, strict=True):
            before, close, answer = context.partition(_CLOSE) if context.startswith(_OPEN) else ("", "", context)
            prompt, tokens = self.continued(how, before + close, answer) if close else text_tokens(self.tokenizer, answer)
            requests.append(ScoreRequest(prompt[-max(1, self.most - len(tokens)) :], tokens[-(self.most - 1) :], how.adapter))
        return [(one.completion, score) for one, score in zip(requests, self.score(requests), strict=True)]

    # ------------------------------------------------------------ contexts as tokens

    def put(self, contexts: Sequence[str]) -> list[Put]:
        """Who answers each context, and the conversation as it is put to them; of a plain text, who answers is all that counts."""
        probes = [_probe(context) for context in contexts]
        new = [one for one in dict.fromkeys(probes) if one not in self._puts]
        found = self.route(new) if self.route and new else [put(self.tokenizer, one) for one in new]
        self._puts.update(zip(new, found, strict=True))
        return [self._puts[one] for one in probes]

    def continued(self, how: Put, context: str, continuation: str) -> tuple[Tokens, Tokens]:
        """A context and what follows it, as tokens."""
        if not context.startswith(_OPEN):
            return self._plain(context, continuation)
        if begun := context.partition(_CLOSE)[2]:
            return how.prompt + self.tokenizer.encode_more(begun), self.tokenizer.encode_more(continuation)
        return how.prompt, self._answer(how.chat, continuation) if continuation else ()

    def length(self, context: str, text: str) -> int:
        """Tokens of an answer to a conversation."""
        return len(self._answer(self.put([context])[0].chat, text))

    def _answer(self, chat: bool, text: str) -> Tokens:
        """A whole answer to a conversation: in plain text it comes after a blank."""
        return answer_in_chat(self.tokenizer, text) if chat else self.tokenizer.encode_more(text if text[0].isspace() else f" {text}")

    def _plain(self, context: str, continuation: str) -> tuple[Tokens, Tokens]:
        """A plain text is encoded in one piece where that leaves its beginning as it is. Blanks at its end belong to what follows."""
        start = context.rstrip() if continuation else context
        prompt, whole = self.tokenizer.encode(start), self.tokenizer.encode(context + continuation)
        follows = whole[: len(prompt)] == prompt
        tokens = whole[len(prompt) :] if follows else self.tokenizer.encode_more(context[len(start) :] + continuation)
        return (prompt, tokens) if prompt else text_tokens(self.tokenizer, context + continuation)

    # ------------------------------------------------------------ asking the engine

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """The engine's scores of what is not known."""
        found: list[Score] = self._asked(requests, self.policy.engine.score)
        return found

    def sample(self, requests: Sequence[SampleRequest]) -> list[Completion]:
        """The engine's completions of what is not known."""
        found: list[Completion] = self._asked(requests, self.policy.sample)
        return found

    def _asked(self, requests: Sequence[Any], ask: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
        new = [one for one in dict.fromkeys(requests) if one not in self.known]
        self.known.update(zip(new, ask(new) if new else [], strict=True))
        return [self.known[one] for one in requests]


Model = TypeVar("Model", bound=TextModel)


def before_and_after(found: InForce, model: type[Model]) -> tuple[Model, Model]:
    """The untrained model, or the model with what a library has learned, gate and all."""
    library, known = found.adapters.library, dict[Any, Any]()
    version, came = library.version(), library.newest().model
    names = came, f"{came} {version.digest if version else ''}"
    before, after = (hashlib.sha256(name.encode()).hexdigest() for name in names)
    return model(found.policy, known=known, digest=before), model(found.policy, partial(puts, found), known, after)


def _probe(context: str) -> Probe:
    """A context as a question: a conversation, or a text."""
    if context.startswith(_OPEN):
        return Probe("", "turns", "contains", tuple(json.loads(context[1:].partition(_CLOSE)[0])), ())
    return Probe("", "text", "likelihood", (), (context,))
