"""The policy: the model that writes self-edits, learns from them, and answers. It turns words into the engine's tokens and back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from selfedit.config import Expectation, Propose, Recipe
from selfedit.engine.base import Engine, Progress
from selfedit.rewards import correct
from selfedit.strategies import Strategy, build, chances, choosing, drawn, joined, parts, pieces, prompts_for
from selfedit.text import ask, contains, cue, holding
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


def derive(seed: int, *parts: object) -> int:
    """A seed of its own for every piece of work: depends on what the work is, never on when it is done."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:4], "big")


@dataclass(frozen=True, slots=True)
class _Plan:
    """Self-edit number `index` of a task before it is written: a `choice` of strategies, `chosen` in these turns, and what will be asked for each."""

    task: Task
    index: int
    seed: int
    choice: str
    chosen: tuple[Turn, ...]
    asked: list[tuple[Strategy | str, tuple[Prompt, ...]]]


class Policy:
    """A model's current weights with everything the loop asks of them. Tokens are counted by `count`.

    `written` are strategies beside the known ones; `merged` is what was added to the model as it came, `start` those of it that were there when
    learning from rewards began.
    """

    def __init__(self, engine: Engine, recipe: Recipe, count: Callable[[int, int], None] = lambda train, sample: None) -> None:
        self.engine, self.recipe, self.count = engine, recipe, count
        self.chat = engine.tokenizer.has_chat_template
        self.written: Mapping[str, Strategy] = {}
        self.merged: list[Path] = []
        self.start: tuple[Path, ...] = ()

    def like(self, recipe: Recipe, written: Mapping[str, Strategy]) -> Policy:
        """The same weights under another recipe, with strategies of its own."""
        other = copy(self)
        other.recipe, other.written = recipe, written
        return other

    # ------------------------------------------------------------ words to tokens

    def prompt(self, prompt: Prompt) -> Tokens:
        """A user's turn in the chat template, or a text to continue."""
        return self.engine.tokenizer.encode(prompt.text) if prompt.continued else self.engine.tokenizer.chat(prompt.text)

    def question(self, title: str, question: str, shown: str = "") -> Tokens:
        """How a question is put: without the passage (SEAL section 4.1), or after a text. An empty title leaves the topic out."""
        tokenizer, text = self.engine.tokenizer, ask(title, question) if title else question
        text = f"{shown}\n\n{text}" if shown else text
        return tokenizer.chat(text) if self.in_chat else tokenizer.encode(cue(text))

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
        prompt = tokenizer.chat(example.prompt) if self.in_chat else tokenizer.encode(cue(example.prompt))
        reply = self._reply(example.text)
        return Datum(prompt + reply, (0.0,) * len(prompt) + (1.0,) * len(reply))

    # ------------------------------------------------------------ write

    def propose(
        self, tasks: Sequence[Task], round_: int, settings: Propose, progress: Progress | None = None, first: int = 0, given: Sequence[str] = ()
    ) -> list[Proposal]:
        """K self-edits of every task, numbered from `first`, all in one call. The strategies are those `given`, one for each self-edit, or else taken
        in turn or picked by the policy, as the settings say."""
        plans = self._plans(tasks, round_, settings, first, given)
        requests = [
            SampleRequest(self.prompt(prompt), self.writing(settings, prompt, derive(plan.seed, i)))
            for plan in plans
            for i, prompt in enumerate(prompt for _, prompts in plan.asked for prompt in prompts)
        ]
        written = iter(self.sample(requests, progress))
        proposals = []
        for plan in plans:
            title, context = plan.task.title, plan.task.context
            turns = [(strategy, [Turn(prompt, (c := next(written)).text, c.finish_reason) for prompt in prompts]) for strategy, prompts in plan.asked]
            edit = joined(plan.choice, plan.chosen, [build(strategy, title, context, own) for strategy, own in turns])
            proposals.append(Proposal(plan.task.id, round_, plan.index, plan.seed, edit))
        return proposals

    def _plans(self, tasks: Sequence[Task], round_: int, settings: Propose, first: int, given: Sequence[str]) -> list[_Plan]:
        choices, numbers, K = settings.choices, range(settings.candidates), self.recipe.propose.candidates
        preferred = self.preferences(tasks, settings) if settings.pick == "policy" and not given else {}
        begin = {task.id: derive(self.recipe.seed, "turn", round_, task.id, first) if len(choices) > K else 0 for task in tasks}  # all get their turn
        named = given or [choices[(begin[task.id] + number) % len(choices)] for task in tasks for number in numbers]
        plans = []
        for (task, number), name in zip(product(tasks, numbers), named, strict=True):
            seed = derive(self.recipe.seed, "edit", round_, task.id, first + number)
            chosen = (drawn(preferred[task.id], derive(seed, "pick")),) if preferred else ()
            choice = chosen[0].completion.strip() if chosen else name
            known = [self.written.get(part, part) for part in parts(choice)]
            asked = [(strategy, prompts_for(strategy, task.title, task.context, self.chat, seed, settings.spans)) for strategy in known]
            plans.append(_Plan(task, first + number, seed, choice, chosen, asked))
        return plans

    def preferences(self, tasks: Sequence[Task], settings: Propose) -> dict[str, list[tuple[Turn, float]]]:
        """By task, every choice of strategies as the turn that makes it, with its chance: how likely its name is as the policy's answer to which is
        best, normalised over the names, at the temperature of sampling."""
        asked = {task.id: choosing(tuple(dict.fromkeys(settings.choices)), task.title, task.context, self.chat) for task in tasks}
        scores = iter(self.engine.score([ScoreRequest(*self.wrote(turn)) for turns in asked.values() for turn in turns]))
        return {
            name: list(zip(turns, chances([sum(next(scores).logprobs) for _ in turns], settings.sampling.temperature), strict=True))
            for name, turns in asked.items()
        }

    def writing(self, settings: Propose, prompt: Prompt, seed: int) -> Sampling:
        """A text that is continued ends at the first empty line: after that a weak model invents the next passage."""
        s = asdict(settings.sampling)
        return Sampling(**(s | {"stop": (*s["stop"], "\n\n") if prompt.continued else s["stop"]}), seed=seed)

    # ------------------------------------------------------------ learn

    def job(self, examples: Sequence[Example], seed: int, epochs: int | None = None) -> TrainJob:
        """The inner loop on some examples."""
        inner = self.recipe.inner
        data = tuple(self.datum(e) for e in examples)
        return TrainJob(data, inner.lora, inner.optimizer, epochs or inner.epochs, inner.batch_size, seed)

    def inner_seed(self, proposal: Proposal, number: int) -> int:
        """Seed `number` of the inner loop (from 0): the same for all candidates of a group, so that chance does not tell them apart."""
        return derive(self.recipe.seed, "inner", proposal.round, proposal.task_id, number)

    def wrote(self, turn: Turn, drawn: bool = False) -> tuple[Tokens, Tokens]:
        """What the policy was asked and what it wrote; a completion that was cut off is not taught to end there.

        `drawn`: without an end that may not be what was drawn, since a text that was continued ends at an empty line too. Its lack costs a little of
        the gradient; an end that was not drawn would be most unlikely, and outweigh all that was.
        """
        tokenizer = self.engine.tokenizer
        ends = turn.finish_reason == "stop" and not (drawn and turn.prompt.continued)
        return self.prompt(turn.prompt), tokenizer.encode_more(turn.completion) + (tokenizer.end if ends else ())

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        """Train many adapters in one call."""
        trained = self.engine.train(jobs, progress)
        self.count(sum(t.tokens for t in trained), 0)
        return trained

    @contextmanager
    def adapters(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> Iterator[list[Trained]]:
        """Train many adapters in one call, and forget them at the end of the block, however it ends."""
        trained = self.train(jobs, progress)
        try:
            yield trained
        finally:
            for t in trained:
                if t.adapter:
                    self.engine.drop(t.adapter)

    def merge(self, folder: Path) -> None:
        """Add an exported adapter to the current weights."""
        adapter = self.engine.load(folder)
        self.engine.merge(adapter)
        self.engine.drop(adapter)
        self.merged.append(folder)

    def begin(self) -> None:
        """Learning from rewards begins here, after a cold start: these weights are the reference that divergence is measured from."""
        self.start = tuple(self.merged)

    def reset(self) -> None:
        """The starting weights again."""
        if tuple(self.merged) != self.start:
            self._become(self.start)

    def reference(self, requests: Sequence[ScoreRequest], current: Sequence[Score]) -> list[Score]:
        """Scores under the starting weights, given those under the current ones: undo every later merge, score, merge again."""
        now = tuple(self.merged)
        if now == self.start:
            return list(current)
        self.reset()
        scores = self.engine.score(requests)
        self._become(now)
        return scores

    def _become(self, folders: Sequence[Path]) -> None:
        self.engine.reset()
        self.merged.clear()
        for folder in folders:
            self.merge(folder)

    # ------------------------------------------------------------ answer

    def sample(self, requests: Sequence[SampleRequest], progress: Progress | None = None) -> list[Completion]:
        """Sample, counting the tokens written."""
        completions = self.engine.sample(requests, progress)
        self.count(0, sum(len(c.tokens) for c in completions))
        return completions

    def answer(
        self, exams: Sequence[tuple[Adapter | None, Task, Sequence[Question]]], progress: Progress | None = None, form: Expectation = "answer"
    ) -> list[tuple[Answer, ...]]:
        """Put questions to adapters without the passage: a greedy answer, judged, and the log-likelihood of the gold one. One call for all."""
        asked = [(adapter, task, question) for adapter, task, questions in exams for question in questions]
        completions = self.sample([self._asking(t, q, a) for a, t, q in asked], progress)
        golds = [value for values in self.gold(exams, progress=progress, form=form) for value in values]
        answers = iter(_answer(q, c, gold) for (_, _, q), c, gold in zip(asked, completions, golds, strict=True))
        return [tuple(next(answers) for _ in questions) for _, _, questions in exams]

    def draw(
        self, exams: Sequence[tuple[Adapter, Task, Sequence[Question], int]], n: int, temperature: float, progress: Progress | None = None
    ) -> list[tuple[Answer, ...]]:
        """As `answer`, but `n` answers to each question, drawn with the exam's seed."""
        asked = [(adapter, task, q, derive(seed, "draw", q.question, i)) for adapter, task, qs, seed in exams for q in qs for i in range(n)]
        completions = self.sample([self._asking(t, q, a, temperature, seed) for a, t, q, seed in asked], progress)
        answers = iter(_answer(q, c) for (_, _, q, _), c in zip(asked, completions, strict=True))
        return [tuple(next(answers) for _ in range(n * len(questions))) for _, _, questions, _ in exams]

    def _asking(self, task: Task, question: Question, adapter: Adapter | None, temperature: float = 0.0, seed: int = 0) -> SampleRequest:
        sampling = Sampling(self.recipe.questions.max_tokens, temperature, stop=() if self.in_chat else ("\n",), seed=seed)
        return SampleRequest(self.question(task.title, question.question), sampling, adapter)

    def gold(
        self,
        exams: Sequence[tuple[Adapter | None, Task, Sequence[Question]]],
        shown: Sequence[str] = (),
        progress: Progress | None = None,
        form: Expectation = "answer",
    ) -> list[tuple[float | None, ...]]:
        """The log-likelihood of the gold answers, nats, None where nobody knows one. Nothing is written: cheaper than answers.

        `shown` is a text in view for each exam. `form` answer: a token of the answer itself. Sentence: a token of the passage's sentence that holds
        it, where one does. Choice: of the sentences that hold it, if one of the passage's is said; None where all do, or none.
        """
        asked = [
            (self.question(task.title, question.question, text), *_sayable(task, question, form), adapter)
            for (adapter, task, questions), text in zip(exams, shown or [""] * len(exams), strict=True)
            for question in questions
            if question.answer
        ]
        requests = [ScoreRequest(prompt, self._reply(said), who) for prompt, right, wrong, who in asked for said in (*right, *wrong)]
        scores = iter(self.engine.score(requests, progress))
        values = iter([_expected([next(scores) for _ in right], [next(scores) for _ in wrong]) for _, right, wrong, _ in asked])
        return [tuple(next(values) if question.answer else None for question in questions) for _, _, questions in exams]

    def expect(self, texts: Sequence[tuple[Adapter | None, Task, Sequence[str]]], progress: Progress | None = None) -> list[tuple[Score, ...]]:
        """The log-likelihood of texts about tasks, each after its task's title. One call for all."""
        tokenizer = self.engine.tokenizer
        requests = [
            ScoreRequest(tokenizer.encode(f"{task.title}\n"), tokenizer.encode_more(text), adapter) for adapter, task, some in texts for text in some
        ]
        scores = iter(self.engine.score(requests, progress))
        return [tuple(next(scores) for _ in some) for _, _, some in texts]


def _sayable(task: Task, question: Question, form: Expectation) -> tuple[Sequence[str], Sequence[str]]:
    """The texts that give the gold answer in its form, and those that could be chosen instead; neither where there is no choice."""
    if form == "answer":
        return [question.answer], []
    sentences = list(dict.fromkeys(pieces(task.context)))
    if form == "sentence":
        return [holding(sentences, question.question, question.answer)], []
    right = [sentence for sentence in sentences if contains(sentence, question.answer)]
    return (right, [sentence for sentence in sentences if sentence not in right]) if 0 < len(right) < len(sentences) else ([], [])


def _expected(right: Sequence[Score], wrong: Sequence[Score]) -> float | None:
    """The log-likelihood a token of what is right or, beside what is wrong, of choosing it."""
    if not wrong:
        return right[0].mean if right else None
    return _together(right) - _together([*right, *wrong])


def _together(scores: Sequence[Score]) -> float:
    """The log-probability of any of these, each as a whole."""
    totals = [sum(score.logprobs) for score in scores]
    return max(totals) + math.log(sum(math.exp(total - max(totals)) for total in totals))


def _answer(question: Question, completion: Completion, gold_logprob: float | None = None) -> Answer:
    said = completion.text.strip()
    return Answer(question, said, correct(said, question.answer) if question.answer else None, gold_logprob)
