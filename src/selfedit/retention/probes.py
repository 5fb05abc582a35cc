"""Probes of what a model can do, written for this project: short tasks that have nothing to do with anyone's documents.

Eight kinds of 32: knowledge, arithmetic, format (an answer in the form that was asked for), reading, turns (a conversation that goes on),
translation, unknown (to say so rather than to make something up), and text (how likely the model takes good prose to be). They are few and easy,
so that they say what a small model has lost; they compare a model with itself, and no model with another.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, get_args

from selfedit.retention import kept
from selfedit.types import Adapter, Interval, Progress, SampleRequest, Sampling, ScoreRequest, Tokens

if TYPE_CHECKING:
    from selfedit.engine.base import Tokenizer
    from selfedit.policy import Policy

Kind = Literal["knowledge", "arithmetic", "format", "reading", "turns", "translation", "unknown", "text"]
Match = Literal["contains", "exact", "regex", "choice", "likelihood"]
KINDS: tuple[Kind, ...] = get_args(Kind)
JUDGED = KINDS[:-1]
"""The kinds whose answers are right or wrong."""
OVERALL = "overall"
"""All of those together, in a comparison."""
LONGEST = 32
"""Tokens of an answer at most."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`said` is the conversation, the user first and last; a text to be scored has none.

    `match` says when an answer is right: it `contains` one of the `answers` as whole words; it is `exact`ly one of them, but for quotes around it
    and a full stop; the whole of it fits the one `regex`; of a `choice`, the one answer is likelier a token than each of the `choices`. `likelihood`:
    the one answer is the text.
    """

    id: str
    kind: Kind
    match: Match
    said: tuple[str, ...]
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """What the user said last; of a text, the text."""
        return self.said[-1] if self.said else self.answers[0]

    @property
    def before(self) -> tuple[tuple[str, str], ...]:
        """The exchanges (user, assistant) before that."""
        return tuple(zip(self.said[:-1:2], self.said[1::2], strict=True))

    @property
    def scored(self) -> tuple[str, ...]:
        """The texts whose likelihood counts, the right one first; none where the answer is written."""
        return (*self.answers, *self.choices) if self.match in ("choice", "likelihood") else ()


@dataclass(frozen=True, slots=True)
class Put:
    """A probe as it is put to `adapter` (None: the current weights).

    `chat`: `prompt` is in the chat template, so that answers are too. Otherwise an answer ends before one of `stop`.
    """

    prompt: Tokens
    adapter: Adapter | None
    chat: bool
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of a probe. `said` is what was written, or the likeliest of the choices.

    `value`: 1 right, 0 wrong; of a text its mean log-likelihood, nats a token; None where that is no finite number.
    """

    id: str
    kind: Kind
    said: str
    value: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """Means before and after of `n` probes, and the paired difference with its 95 % interval: shares of right answers, or nats a token of texts.

    `lost` probes had a value before and have none now; they are left out of the figures.
    """

    before: float
    after: float
    change: Interval
    n: int
    lost: int = 0


@cache
def probes() -> tuple[Probe, ...]:
    """All 256, kind by kind."""
    text = resources.files("selfedit").joinpath("data/probes.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return tuple(
        Probe(r["id"], r["kind"], r["match"], tuple(turn["content"] for turn in r["messages"]), tuple(r["answers"]), tuple(r.get("choices", ())))
        for r in rows
    )


def some(kinds: Sequence[str] = JUDGED, limit: int = 0) -> list[Probe]:
    """The probes of some kinds, by turns one of each, or only the first `limit` of these."""
    of = [[one for one in probes() if one.kind == kind] for kind in kinds]
    mixed = [one for ones in zip(*of, strict=True) for one in ones]
    return mixed[: limit or None]


# ---------------------------------------------------------------- asking


def ask_probes(
    policy: Policy,
    to: Adapter | Callable[[Probe], Put] | None = None,
    progress: Progress | None = None,
    chosen: Sequence[Probe] | None = None,
    cache_file: Path | None = None,
) -> list[Probed]:
    """Put probes (all, unless some are `chosen`) to an adapter, or to the current weights; or each as a function says. Answers are greedy.

    What the current weights said is kept in `cache_file`, and found there the next time: give one that belongs to them (`cache_of`).
    """
    chosen = probes() if chosen is None else chosen
    puts = [to(one) if callable(to) else put(policy.engine.tokenizer, one, to) for one in chosen]
    known = kept.read(cache_file)
    keys = [_key(policy, one, how) if how.adapter is None and cache_file else "" for one, how in zip(chosen, puts, strict=True)]
    missing = [n for n, key in enumerate(keys) if key not in known]
    heard = dict(zip(missing, _hear(policy, [(chosen[n], puts[n]) for n in missing], progress), strict=True))
    if cache_file and (new := {keys[n]: found for n, found in heard.items() if keys[n]}):
        kept.write(cache_file, known | new)
    return [judged(one, *(heard[n] if n in heard else known[key])) for n, (one, key) in enumerate(zip(chosen, keys, strict=True))]


def put(tokenizer: Tokenizer, probe: Probe, adapter: Adapter | None = None, question: str | None = None) -> Put:
    """The conversation in the chat template or, where there is none, as plain text; a text after the token that begins one, or else ends one.

    `question` takes the place of what the user said last.
    """
    if not probe.said:
        return Put(text_tokens(tokenizer, probe.answers[0])[0], adapter, False)
    asked = probe.question if question is None else question
    if tokenizer.has_chat_template:
        return Put(tokenizer.chat(asked, probe.before), adapter, True)
    lines = [f"User: {user}\nAssistant: {assistant}\n" for user, assistant in probe.before]
    return Put(tokenizer.encode("".join(lines) + f"User: {asked}\nAssistant:"), adapter, False, ("\nUser:",))


def answer_tokens(tokenizer: Tokenizer, probe: Probe, text: str, chat: bool) -> Tokens:
    """A text that is scored, without the token that ends a turn."""
    if not probe.said:
        return text_tokens(tokenizer, text)[1]
    return answer_in_chat(tokenizer, text) if chat else tokenizer.encode_more(f" {text}")


def text_tokens(tokenizer: Tokenizer, text: str) -> tuple[Tokens, Tokens]:
    """What a text comes after, and the text: the token that begins texts, else the one that ends them, else its own first token."""
    begin, whole = tokenizer.encode(""), tokenizer.encode(text)
    after = begin or tokenizer.end or whole[:1]
    return after, whole[1:] if after == whole[:1] else whole


def answer_in_chat(tokenizer: Tokenizer, text: str) -> Tokens:
    """An answer as the chat template writes it, without the token that ends a turn."""
    reply = tokenizer.reply(text)
    return reply[:-1] if reply[-1:] == tokenizer.end else reply


def sampling(how: Put) -> Sampling:
    """How answers are drawn: greedily."""
    return Sampling(LONGEST, stop=how.stop)


Heard = tuple[str, list[float]]
"""What was written, or the log-likelihood of each scored text, nats a token."""


def _hear(policy: Policy, asked: Sequence[tuple[Probe, Put]], progress: Progress | None) -> list[Heard]:
    """What the model says to each probe: two calls of the engine for all."""
    tokenizer = policy.engine.tokenizer
    written = [(n, how) for n, (one, how) in enumerate(asked) if not one.scored]
    scored = [(n, how, answer_tokens(tokenizer, one, text, how.chat)) for n, (one, how) in enumerate(asked) for text in one.scored]
    completions = policy.sample([SampleRequest(how.prompt, sampling(how), how.adapter) for _, how in written], progress) if written else []
    scores = policy.engine.score([ScoreRequest(how.prompt, tokens, how.adapter) for _, how, tokens in scored], progress) if scored else []
    heard: list[Heard] = [("", []) for _ in asked]
    for (n, _), completion in zip(written, completions, strict=True):
        heard[n] = (completion.text.strip(), [])
    for (n, _, _), score in zip(scored, scores, strict=True):
        heard[n][1].append(score.mean)
    return heard


def cache_of(policy: Policy) -> Path | None:
    """Where what the untrained model says to probes is kept; None where it is not kept."""
    return kept.file_of(policy, "probes")


def _key(policy: Policy, probe: Probe, how: Put) -> str:
    """What an answer depends on beside the model: how it was asked and drawn, and with which precision."""
    asked: Any = (how, probe.scored, sampling(how), policy.recipe.engine.model_dump_json())
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:24]


# ---------------------------------------------------------------- judging


def judged(probe: Probe, said: str, scores: Sequence[float]) -> Probed:
    """What came of it, given what was written or the scores of its texts."""
    if probe.match == "likelihood":
        return Probed(probe.id, probe.kind, "", scores[0] if math.isfinite(scores[0]) else None)
    if probe.match == "choice":
        likeliest = max(zip(scores, probe.scored, strict=True), key=lambda pair: -math.inf if math.isnan(pair[0]) else pair[0])[1]
        return Probed(probe.id, probe.kind, likeliest, float(all(scores[0] > other for other in scores[1:])))
    return Probed(probe.id, probe.kind, said, float(right(probe, said)))


def right(probe: Probe, said: str) -> bool:
    """Whether a written answer is right."""
    if probe.match == "contains":
        text = _plain(said)
        return any(re.search(rf"(?<!\w){re.escape(_plain(answer))}(?!\w)", text) for answer in probe.answers)
    if probe.match == "exact":
        return _bare(said) in {_bare(answer) for answer in probe.answers}
    return re.fullmatch(probe.answers[0], said.strip(), re.DOTALL) is not None


def _plain(text: str) -> str:
    """Case folded, whitespace collapsed."""
    return " ".join(text.casefold().split())


def _bare(text: str) -> str:
    """The same without quotes around it and a full stop at the end, inside of them or outside."""
    quotes = " \"'“”‘’"
    return _plain(text).strip(quotes).removesuffix(".").strip(quotes)


# ---------------------------------------------------------------- comparing


def compared(before: Sequence[Probed], after: Sequence[Probed]) -> dict[str, Change]:
    """By kind, and `overall` of those that are right or wrong: what changed on the same probes, paired.

    Kinds none of whose probes have both values are left out. Raises ValueError where the two are not about the same probes.
    """
    pairs = [(b, a) for b, a in zip(before, after, strict=True)]
    if any(b.id != a.id for b, a in pairs):
        raise ValueError("two results of other probes cannot be compared")
    parts = {kind: [(b, a) for b, a in pairs if b.kind == kind] for kind in KINDS} | {OVERALL: [(b, a) for b, a in pairs if b.kind in JUDGED]}
    return {name: found for name, part in parts.items() if (found := _change(part)) is not None}


def _change(pairs: Sequence[tuple[Probed, Probed]]) -> Change | None:
    from selfedit.study import statistics

    both = [(b.value, a.value) for b, a in pairs if b.value is not None and a.value is not None]
    lost = sum(b.value is not None and a.value is None for b, a in pairs)
    if not both:
        return None
    then, now = [b for b, _ in both], [a for _, a in both]
    change = statistics.paired_difference([[value] for value in now], [[value] for value in then])
    return Change(fmean(then), fmean(now), change, len(both), lost)
