"""A deterministic engine without a model: it reads by comparing words and remembers what it was trained on. Whole runs take milliseconds.

It behaves as a real model does where a run can tell: knows nothing at first, writes self-edits from the passage in its prompt, answers from what
its adapter has seen (more surely the more often), and writes fuller self-edits once it was trained on some.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from selfedit.engine.fake_writing import EXERCISE, VECTOR, Memory, recall, reply
from selfedit.engine.losses import check_loss, metrics_of
from selfedit.errors import EngineError, ModelError
from selfedit.text import contains, sentences, words
from selfedit.types import (
    Adapter,
    Completion,
    Datum,
    Fisher,
    Progress,
    SampleRequest,
    Score,
    ScoreRequest,
    Tokens,
    TopTokens,
    Trained,
    TrainJob,
    VectorEdit,
)

_BEGIN, _END, _USER, _ASSISTANT = 1, 2, 3, 4
_WORD = re.compile(r"\s*\S+|\s+")
_METRICS = {"kl": 0.1, "clip_fraction": 0.2}
"""The largest value of a metric that is not about 1."""
PLANTED, SKILL = 0.2, 2.0
"""An edit vector makes gold answers likelier, by at most `SKILL` nats a token, where each of its numbers is `PLANTED`."""
READ = 16
"""Numbers of what the engine says of a text that it reads."""


class FakeTokenizer:
    """Pieces of words, of at most seven bytes: the id of a piece is its bytes, read as a number after a leading 1."""

    end: Tokens = (_END,)
    ends = frozenset(end)

    def __init__(self, chat: bool = True) -> None:
        self.has_chat_template = chat

    def encode(self, text: str) -> Tokens:
        """Plain text, after the token that begins a text."""
        return (_BEGIN, *self.encode_more(text))

    def encode_more(self, text: str) -> Tokens:
        """Text that follows other text."""
        pieces = (word[i : i + 7] for word in map(str.encode, _WORD.findall(text)) for i in range(0, len(word), 7))
        return tuple(int.from_bytes(b"\1" + piece) for piece in pieces)

    def chat(self, user: str, before: Sequence[tuple[str, str]] = ()) -> Tokens:
        """One user turn, up to where the answer begins, after the exchanges `before`."""
        earlier = [(_USER, *self.encode_more(asked), _ASSISTANT, *self.reply(answered)) for asked, answered in before]
        return (*(token for exchange in earlier for token in exchange), _USER, *self.encode_more(user), _ASSISTANT)

    def reply(self, text: str) -> Tokens:
        """An answer after `chat`, with the token that ends it."""
        return self.encode_more(text) + self.end

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens; a character that was cut in two becomes a replacement character."""
        pieces = (t.to_bytes(8).lstrip(b"\0")[1:] for t in tokens if t > _ASSISTANT)
        return b"".join(pieces).decode(errors="replace")


class Fake:
    """Implements `selfedit.engine.base.Engine`.

    `diverges` chooses the jobs that fail, as a real one does at too high a learning rate; `chat` False is a base model, without a template.
    """

    context_tokens = 4096
    layers = 12

    def __init__(self, diverges: Callable[[TrainJob], bool] = lambda job: job.optimizer.lr >= 1e6, chat: bool = True) -> None:
        self.tokenizer = FakeTokenizer(chat)
        self.diverges = diverges
        self._merged = Memory()
        self._adapters: dict[str, Memory] = {}
        self._made = 0

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        """Draw one completion for each request, in their order."""
        return _each(requests, lambda r: self._complete(r, self._memory(r.adapter)), progress)

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        """Train one adapter for each job, in their order. It goes on from what another remembers; penalties have no weights to hold."""
        for job in jobs:
            check_loss(job)
            self._fits(max((len(d.tokens) for d in job.data), default=0))
            for adapter in job.uses:
                self._get(adapter)
        return _each(jobs, self._train, progress)

    def descent(self, data: Sequence[Datum], layers: Sequence[int], rank: int, progress: Progress | None = None) -> Adapter:
        """An adapter that remembers nothing: there are no weights."""
        return self._add(Memory())

    def fisher(self, adapter: Adapter, data: Sequence[Datum], before: Fisher | None = None) -> Fisher:
        """A handle: there are no weights."""
        return Fisher(self._add(self._get(adapter)).id)

    def score(self, requests: Sequence[ScoreRequest], progress: Progress | None = None) -> list[Score]:
        """Log-probabilities of given completions, in their order."""
        for r in requests:
            self._fits(len(r.prompt) + len(r.completion))
            if not r.prompt:
                raise EngineError("a score needs at least one token of prompt")
            if r.top < 0:
                raise EngineError(f"top = {r.top}: it is how many of the likeliest tokens are wanted")
        return _each(requests, self._score, progress)

    def read(self, texts: Sequence[Tokens], progress: Progress | None = None) -> list[tuple[float, ...]]:
        """How many words of a text fall into each of a few classes, as shares."""

        def shares(text: Tokens) -> tuple[float, ...]:
            classes = Counter(sum(word.encode()) % READ for word in words(self.tokenizer.decode(text)))
            return tuple(classes[n] / max(1, classes.total()) for n in range(READ))

        return _each(texts, shares, progress)

    def make(self, edit: VectorEdit, basis: Adapter | None = None) -> Adapter:
        """An adapter with a skill, and no memory."""
        if edit.basis and basis is None:
            raise EngineError("an edit of a basis needs the adapter that is its basis")
        if missing := [layer for layer in edit.layers if not 0 <= layer < self.layers]:
            raise EngineError(f"the model has no layer {missing[0]} that an edit vector could change; its layers are 0 to {self.layers - 1}")
        if len(edit.values) != len(edit.layers) * edit.width or not all(map(math.isfinite, edit.values)):
            raise EngineError(f"an edit of {len(edit.layers)} layers has {edit.width} finite numbers for each, not {edit.values}")
        return self._add(Memory({(VECTOR, json.dumps(edit.values)): 1}))

    def merge(self, adapter: Adapter) -> None:
        """Add the adapter to the current weights."""
        self._merged = self._merged + self._get(adapter)

    def scaled(self, adapter: Adapter, scale: float) -> Adapter:
        """One that remembers only this share of the texts: the first in the order of the alphabet."""
        seen = sorted(self._get(adapter).items())
        return self._add(Memory(dict(seen[: math.ceil(scale * len(seen))])))

    def summed(self, adapters: Sequence[Adapter]) -> Adapter:
        """One that remembers what each of them does."""
        return self._add(sum(map(self._get, adapters), Memory()))

    def export(self, adapter: Adapter, folder: Path) -> None:
        """Write the adapter under the names PEFT uses; the configuration says that it is a fake."""
        import numpy
        from safetensors.numpy import save_file

        rows = sorted((cue, text, count) for (cue, text), count in self._get(adapter).items())
        config = {"peft_type": "FAKE", "note": "made by selfedit's fake engine: remembered texts, no weights of a model"}
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"memory": numpy.frombuffer(json.dumps(rows).encode(), numpy.uint8)}, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> Adapter:
        """Read an adapter that a fake engine wrote."""
        from safetensors.numpy import load_file

        try:
            kind = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("peft_type")
            if kind != "FAKE":
                raise ModelError(f"the adapter in {folder} is of type {kind}; the fake engine reads its own only")
            rows = json.loads(load_file(folder / "adapter_model.safetensors")["memory"].tobytes())
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"the adapter in {folder} cannot be read: {error}") from error
        return self._add(Memory({(cue, text): count for cue, text, count in rows}))

    def drop(self, adapter: Adapter) -> None:
        """Forget the adapter."""
        self._adapters.pop(adapter.id, None)

    def reset(self) -> None:
        """Undo every merge."""
        self._merged = Memory()

    def norms(self) -> Mapping[str, float]:
        """There are no weights."""
        return {}

    def _add(self, memory: Memory) -> Adapter:
        self._made += 1
        adapter = Adapter(f"adapter-{self._made}")
        self._adapters[adapter.id] = memory
        return adapter

    def _get(self, adapter: Adapter) -> Memory:
        if adapter.id not in self._adapters:
            raise EngineError(f"{adapter.id} is not in the engine: it was dropped, or belongs to another")
        return self._adapters[adapter.id]

    def _memory(self, adapter: Adapter | None) -> Memory:
        return self._merged + self._get(adapter) if adapter else self._merged

    def _fits(self, length: int) -> None:
        if length > self.context_tokens:
            raise EngineError(f"a sequence of {length} tokens is longer than the {self.context_tokens} this model takes; use shorter passages")

    def _train(self, job: TrainJob) -> Trained:
        if not any(w for d in job.data for w in d.weights[1:]):
            return Trained(None, (), 0, "nothing to train on: no token carries weight")
        steps, tokens = math.ceil(len(job.groups or job.data) / job.batch_size), sum(len(d.tokens) for d in job.data)
        if self.diverges(job):
            return Trained(None, (3.5, math.nan), tokens, f"diverged at step 2 of {job.epochs * steps}; lower the learning rate ({job.optimizer.lr})")
        rng = random.Random(job.seed)
        losses = tuple(3.5 * 0.7**epoch * rng.uniform(0.9, 1.0) for epoch in range(job.epochs) for _ in range(steps))
        memory = sum((self._seen(d) for d in job.data if d.advantage >= 0), self._get(job.start) if job.start else Memory())
        metrics = {name: tuple(_METRICS.get(name, 1.0) * rng.uniform(0.5, 1.0) for _ in losses) for name in metrics_of(job)}
        return Trained(self._add(memory), losses, job.epochs * tokens, metrics=metrics)

    def _seen(self, datum: Datum) -> Memory:
        """An answer after its question counts twice; other text is remembered by sentences, its first line being their title."""
        learned = [i for i, w in enumerate(datum.weights) if i and w]
        start = learned[0] if learned and learned[0] > 1 else 0
        cue, text = self.tokenizer.decode(datum.tokens[:start]).strip(), self.tokenizer.decode(datum.tokens[start:]).strip()
        if not learned:
            return Memory()
        if cue:
            return Memory({(cue, text): 2})
        return Memory((text.partition("\n")[0], sentence) for sentence in sentences(text.partition("\n")[2] or text))

    def _complete(self, request: SampleRequest, memory: Memory) -> Completion:
        self._fits(len(request.prompt) + request.sampling.max_tokens)
        s, prompt = request.sampling, self.tokenizer.decode(request.prompt)
        skill = sum(n for (cue, _), n in memory.items() if EXERCISE.search(cue))
        text = reply(prompt, memory, skill, random.Random(f"{s.seed if s.temperature else ''}\0{prompt}"))
        tokens = self._drawn(text, s.stop)
        kept = tokens[: s.max_tokens]
        said = self.tokenizer.decode(kept)
        cut = min((said.find(stop) for stop in s.stop if stop in said), default=len(said))
        return Completion(said[:cut], kept, self._logprobs(memory, request.prompt, kept), "stop" if kept == tokens else "length")

    def _drawn(self, text: str, stops: Sequence[str]) -> Tokens:
        """The tokens of a text up to the one that completes a stop string, or with the end token."""
        tokens = self.tokenizer.encode_more(text)
        ends = [len(text[: text.find(stop) + len(stop)].encode()) for stop in stops if stop in text]
        if not ends:
            return tokens + self.tokenizer.end
        bytes_before = accumulate((t.bit_length() // 8 for t in tokens), initial=0)
        return tuple(t for t, before in zip(tokens, bytes_before, strict=False) if before < min(ends))

    def _score(self, request: ScoreRequest) -> Score:
        logprobs = self._logprobs(self._memory(request.adapter), request.prompt, request.completion)
        tops = (_top(token, logp, request.top) for token, logp in zip(request.completion, logprobs, strict=True))
        return Score(logprobs, tuple(tops) if request.top else ())

    def _logprobs(self, memory: Memory, prompt: Tokens, completion: Tokens) -> tuple[float, ...]:
        """Between -4.6 (never seen) and -0.5 (certain) a token, with a little noise that depends on the texts alone."""
        asked, answer = self.tokenizer.decode(prompt), self.tokenizer.decode(completion)
        known = max((p for text, p in recall(asked, memory) if contains(text, answer)), default=0.0)
        rng = random.Random(f"{asked}\0{answer}")
        skill = sum(_skill(json.loads(text)) for cue, text in memory if cue == VECTOR)
        return tuple(min(-0.01, skill - 0.5 - 4 * (1 - known) - 0.1 * rng.random()) for _ in completion)


def _skill(values: Sequence[float]) -> float:
    """What an edit vector adds to a log-probability: nothing at zero, most at the planted one, ever less beyond it."""
    away = math.fsum((value - PLANTED) ** 2 for value in values) / (len(values) * PLANTED**2)
    return SKILL * (1 - away)


def _top(token: int, logp: float, count: int) -> TopTokens:
    """The token itself, and pieces of one byte that share what it leaves, each half of the one before: no model knows what else might come."""
    others = [piece for piece in range(256, 512) if piece != token][:count]
    found = [(token, logp), *((piece, math.log1p(-math.exp(logp)) - math.log(2) * place) for place, piece in enumerate(others, start=1))]
    ids, logprobs = zip(*sorted(found, key=lambda each: (-each[1], each[0]))[:count], strict=True)
    return ids, logprobs


def _each(units: Sequence[Any], work: Callable[[Any], Any], progress: Progress | None) -> list[Any]:
    results = [work(unit) for unit in units]
    if progress:
        progress(len(results), len(units))
    return results
