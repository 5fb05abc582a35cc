"""The policy: the model that writes self-edits, learns from them, and answers. It turns words into the engine's tokens and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from selfedit.config import Propose, Recipe
from selfedit.edits import Strategy, build, prompts_for
from selfedit.engine.base import Engine, Progress
from selfedit.rewards import correct
from selfedit.text import ask
from selfedit.types import (
    Adapter,
    Answer,
    Completion,
    Datum,
    Example,
    Prompt,
    Proposal,
    Question,
    SampleRequest,
    Sampling,
    Score,
    ScoreRequest,
    Task,
    Tokens,
    Trained,
    TrainJob,
    Turn,
)

EMPTY: Mapping[str, Strategy] = MappingProxyType({})


def derive(seed: int, *parts: object) -> int:
    """A seed of its own for every piece of work: depends on what the work is, never on when it is done."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:4], "big")


class Policy:
    """A model's current weights with everything the loop asks of them. `count` counts tokens, `written` are strategies beside the known ones."""

    def __init__(
        self, engine: Engine, recipe: Recipe, count: Callable[[int, int], None] = lambda train, sample: None, written: Mapping[str, Strategy] = EMPTY
    ) -> None:
        self.written = written
        self.engine, self.recipe, self.count = engine, recipe, count
        self.chat = engine.tokenizer.has_chat_template
        self.merged: list[Path] = []

    # ------------------------------------------------------------ words to tokens

    def prompt(self, prompt: Prompt) -> Tokens:
        """A user's turn in the chat template, or a text to continue."""
        return self.engine.tokenizer.encode(prompt.text) if prompt.continued else self.engine.tokenizer.chat(prompt.text)

    def question(self, title: str, question: str) -> Tokens:
        """How a question is put: without the passage (SEAL section 4.1). An empty title leaves the topic out."""
        tokenizer, text = self.engine.tokenizer, ask(title, question) if title else question
        return tokenizer.chat(text) if self.in_chat else tokenizer.encode(f"{text}\nAnswer:")

    @property
    def in_chat(self) -> bool:
        """Whether questions are put in the chat template."""
        return self.chat and self.recipe.inner.format == "chat"

    def _reply(self, text: str) -> Tokens:
        """What the model is to write after a prompt, with the token that ends its turn."""
        tokenizer = self.engine.tokenizer
        return tokenizer.encode_more(text if self.in_chat else f" {text}") + tokenizer.end

    def datum(self, example: Example) -> Datum:
        """An example as tokens: a text is learned whole, of an exchange the reply alone."""
        tokenizer = self.engine.tokenizer
        if not example.prompt:
            tokens = tokenizer.encode(example.text) + tokenizer.end
            return Datum(tokens, (1.0,) * len(tokens))
        prompt = tokenizer.chat(example.prompt) if self.in_chat else tokenizer.encode(f"{example.prompt}\nAnswer:")
        reply = self._reply(example.text)
        return Datum(prompt + reply, (0.0,) * len(prompt) + (1.0,) * len(reply))

    # ------------------------------------------------------------ write

    def propose(self, tasks: Sequence[Task], round_: int, settings: Propose, progress: Progress | None = None) -> list[Proposal]:
        """K self-edits of every task, all in one call; the strategies take turns."""
        plans: list[tuple[Task, int, int, str, tuple[Prompt, ...]]] = []
        requests: list[SampleRequest] = []
        for task in tasks:
            for index in range(settings.candidates):
                strategy = settings.strategies[index % len(settings.strategies)]
                seed = derive(self.recipe.seed, "edit", round_, task.id, index)
                prompts = prompts_for(self.written.get(strategy, strategy), task.title, task.context, self.chat, seed)
                plans.append((task, index, seed, strategy, prompts))
                for i, prompt in enumerate(prompts):
                    requests.append(SampleRequest(self.prompt(prompt), self.writing(settings, prompt, derive(seed, i))))
        written = iter(self.sample(requests, progress))
        proposals = []
        for task, index, seed, strategy, prompts in plans:
            turns = tuple(Turn(prompt, (c := next(written)).text, c.finish_reason) for prompt in prompts)
            proposals.append(Proposal(task.id, round_, index, seed, build(self.written.get(strategy, strategy), task.title, task.context, turns)))
        return proposals

    def writing(self, settings: Propose, prompt: Prompt, seed: int) -> Sampling:
        """A text that is continued ends at the first empty line: after that a weak model invents the next passage."""
        s = settings.sampling
        return replace(s, stop=(*s.stop, "\n\n") if prompt.continued else s.stop, seed=seed)

    # ------------------------------------------------------------ learn

    def job(self, examples: Sequence[Example], seed: int, epochs: int | None = None) -> TrainJob:
        """The inner loop on some examples."""
        inner = self.recipe.inner
        data = tuple(self.datum(e) for e in examples)
        return TrainJob(data, inner.lora, inner.optimizer, epochs or inner.epochs, inner.batch_size, seed)

    def wrote(self, turn: Turn) -> tuple[Tokens, Tokens]:
        """What the policy was asked and what it wrote; a completion that was cut off is not taught to end there."""
        tokenizer = self.engine.tokenizer
        return self.prompt(turn.prompt), tokenizer.encode_more(turn.completion) + (tokenizer.end if turn.finish_reason == "stop" else ())

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        """Train many adapters in one call."""
        trained = self.engine.train(jobs, progress)
        self.count(sum(t.tokens for t in trained), 0)
        return trained

    def merge(self, folder: Path) -> None:
        """Add an exported adapter to the current weights."""
        adapter = self.engine.load(folder)
        self.engine.merge(adapter)
        self.engine.drop(adapter)
        self.merged.append(folder)

    def reset(self) -> None:
        """The starting weights again."""
        self.engine.reset()
        self.merged.clear()

    def reference(self, requests: Sequence[ScoreRequest], current: Sequence[Score]) -> list[Score]:
        """Scores under the starting weights, given those under the current ones: undo every merge, score, merge again."""
        if not self.merged:
            return list(current)
        folders = list(self.merged)
        self.reset()
        scores = self.engine.score(requests)
        for folder in folders:
            self.merge(folder)
        return scores

    # ------------------------------------------------------------ answer

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        """Sample, counting the tokens written."""
        completions = self.engine.sample(requests, progress)
        self.count(0, sum(len(c.tokens) for c in completions))
        return completions

    def answer(self, exams: Sequence[tuple[Adapter | None, Task, Sequence[Question]]], progress: Progress | None = None) -> list[tuple[Answer, ...]]:
        """Put questions to adapters without the passage: a greedy answer, judged, and the log-likelihood of the gold one. One call for all."""
        asked = [(adapter, task, question) for adapter, task, questions in exams for question in questions]
        limit = self.recipe.questions.max_tokens
        stop = () if self.in_chat else ("\n",)
        completions = self.sample([SampleRequest(self.question(t.title, q.question), Sampling(limit, stop=stop), a) for a, t, q in asked], progress)
        scores = self.engine.score([ScoreRequest(self.question(t.title, q.question), self._reply(q.answer), a) for a, t, q in asked], progress)
        answers = iter(
            Answer(q, c.text.strip(), correct(c.text, q.answer), s.mean) for (_, _, q), c, s in zip(asked, completions, scores, strict=True)
        )
        return [tuple(next(answers) for _ in questions) for _, _, questions in exams]
