"""The policy: the model that writes self-edits, learns from them, and answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from selfedit.config import Propose, Recipe
from selfedit.engine.base import Engine
from selfedit.errors import EngineError
from selfedit.grouping import grouped
from selfedit.policy.render import Renderer
from selfedit.policy.seeds import derive
from selfedit.policy.shelf import Shelf
from selfedit.rewards import Expectation
from selfedit.strategies import Strategy, chances, choosing, find, parts
from selfedit.strategies.written import Written
from selfedit.types import (
    Adapter,
    Answer,
    Completion,
    Directives,
    Example,
    Progress,
    Prompt,
    Proposal,
    Question,
    SampleRequest,
    Sampling,
    Score,
    ScoreRequest,
    SelfEdit,
    Task,
    Trained,
    TrainJob,
    Turn,
    Variant,
)

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions about a task that are put to an adapter (None: the current weights); `seed` is for drawn answers.

    They are put without the passage, unless it is `shown` in the prompt; exchanges (question, answer) may come `before` each. `edit` is the self-edit
    that the adapter was trained on, where there is one: a domain may ask in the ways that it was trained in.
    """

    adapter: Adapter | None
    task: Task
    questions: Sequence[Question]
    seed: int = 0
    shown: str = ""
    before: Sequence[tuple[str, str]] = ()
    edit: SelfEdit | None = None


class Policy:
    """A model's current weights with everything the loop asks of them. Tokens are counted by `count`; `replay` and `worked` are trained on in every
    job, and what is trained is kept on the `shelf`, where there is one.

    `gathered` are answers of adapters to fresh questions, by task, that its adapters are trained on too.
    `variant` is a strategy of a search that is written with in place of the recipe's. `merged` is what was added to the untrained model, `start`
    those of it that were there when learning from rewards began.
    """

    def __init__(self, engine: Engine, recipe: Recipe, count: Callable[[int, int], None] = lambda train, sample: None) -> None:
        self.engine, self.recipe, self.count = engine, recipe, count
        self.domain, self.inner, self.reward = recipe.open("domain"), recipe.open("inner"), recipe.open("reward")
        self.chat = engine.tokenizer.has_chat_template
        self.render = Renderer(engine.tokenizer, plain=self.inner.plain)
        self.variant: Variant | None = None
        self.merged: list[Path] = []
        self.start: tuple[Path, ...] = ()
        self.replay: tuple[Example, ...] = ()
        self.worked: tuple[Example, ...] = ()
        self.gathered: dict[str, tuple[Example, ...]] = {}
        self.shelf: Shelf | None = None

    def writing_as(self, variant: Variant) -> Policy:
        """The same weights, writing as a variant of a search does."""
        other = copy(self)
        other.variant = None if variant.parent is None else variant
        propose = self.recipe.propose.model_copy(update={"strategies": (variant.strategy,), "mix": 1})
        other.recipe = self.recipe.model_copy(update={"propose": propose})
        return other

    def seed(self, *parts: object) -> int:
        """The seed of a piece of work of this run."""
        return derive(self.recipe.seed, *parts)

    # ------------------------------------------------------------ write

    def checked(self, task: Task, edit: SelfEdit) -> SelfEdit:
        """A self-edit with the reason why the domain cannot train on it, where there is one."""
        return edit if edit.problem else replace(edit, problem=self.domain.problem(self, task, edit))

    def directed(self, task: Task, edit: SelfEdit, directives: Directives) -> SelfEdit:
        """A self-edit of this task with these directives in place of its own."""
        for name in parts(edit.strategy):
            edit = self.strategy(name).directed(task.title, task.context, edit, directives)
        return edit

    def strategy(self, name: str) -> Strategy:
        """The strategy of this name; a variant of a search is known here alone."""
        if self.variant and self.variant.strategy == name:
            return Written(self.variant)
        return find(name, self.recipe.strategy)

    def known_variant(self, choice: str, number: int) -> Variant:
        """One of the recipe's strategies, or several mixed, as variant `number` of a search: with the recipe's inner loop."""
        strategies, directives = [self.strategy(part) for part in parts(choice)], {one.name: one.default for one in self.inner.directives()}
        means = " ".join(strategy.means for strategy in strategies)
        return Variant(number, None, choice, means, strategies[-1].form, 1, int(directives.get("epochs", 1)), float(directives.get("lr", 0.0)))

    def preferences(self, tasks: Sequence[Task], settings: Propose) -> dict[str, list[tuple[Turn, float]]]:
        """By task, every choice of strategies as the turn that makes it, with its chance: how likely its name is as the policy's answer to which is
        best, normalised over the names, at the temperature of sampling."""
        asked = {task.id: choosing(tuple(dict.fromkeys(settings.choices)), task.title, task.context, self.chat) for task in tasks}
        return self.weigh(asked, settings.sampling.temperature)

    def weigh(self, asked: Mapping[Key, Sequence[Turn]], temperature: float) -> dict[Key, list[tuple[Turn, float]]]:
        """For each question its alternatives, the turns that may answer it, with their chances: the log-probability of each under the policy,
        normalised over the alternatives. One call for all."""
        flat = [(key, turn) for key, turns in asked.items() for turn in turns]
        scores = self.engine.score([ScoreRequest(*self.render.written(turn)) for _, turn in flat])
        likely = grouped((key, sum(score.logprobs)) for (key, _), score in zip(flat, scores, strict=True))
        return {key: list(zip(turns, chances(likely[key], temperature), strict=True)) for key, turns in asked.items()}

    def sampling(self, settings: Propose, prompt: Prompt, seed: int) -> Sampling:
        """A text that is continued ends at the first empty line: after that a weak model invents the next passage."""
        s = asdict(settings.sampling)
        return Sampling(**(s | {"stop": (*s["stop"], "\n\n") if prompt.continued else s["stop"]}), seed=seed)

    def write(self, prompt: Prompt, seed: int, progress: Progress | None = None) -> Turn:
        """One completion, drawn as self-edits are."""
        [completion] = self.sample([SampleRequest(self.render.prompt(prompt), self.sampling(self.recipe.propose, prompt, seed))], progress)
        return Turn(prompt, completion.text, completion.finish_reason, completion.tokens)

    # ------------------------------------------------------------ learn

    def job(self, examples: Sequence[Example], seed: int, directives: Directives = (), epochs: int | None = None) -> TrainJob:
        """The inner loop on some examples, on what is replayed, and on worked questions."""
        replayed = self.inner.replayed(self.replay, directives)
        found: TrainJob = self.inner.job(self.render, [*examples, *replayed, *self.worked], seed, directives, epochs)
        return found

    def material(self, task: Task, edit: SelfEdit, asked: Sequence[Question], seed: int = 0) -> tuple[Example, ...]:
        """What an adapter is trained on that will be asked these questions: the same for self-edits that say the same, whoever wrote them."""
        return tuple(self.domain.material(task, edit, asked, self.seed("material", task.id, seed)))

    def inner_seed(self, proposal: Proposal, number: int) -> int:
        """Seed `number` of the inner loop (from 0): the same for all candidates of a group, so that chance does not tell them apart."""
        return self.seed("inner", proposal.round, proposal.task_id, number)

    def member_job(self, member: Sequence[Proposal], examples: Sequence[Example]) -> TrainJob:
        """One adapter on the data of several tasks' self-edits; all of a round have one seed, so that their data alone tell them apart."""
        return self.job(examples, self.seed("member", member[0].round))

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        """Train many adapters in one call."""
        trained = self.engine.train(jobs, progress)
        if self.shelf:
            self.shelf.put(self.engine, jobs, trained)
        self.count(sum(t.tokens for t in trained), 0)
        return trained

    @contextmanager
    def adapters(self, jobs: Sequence[TrainJob], progress: Progress | None = None, needed: str = "") -> Iterator[list[Trained]]:
        """Train many adapters in one call, and forget them at the end of the block, however it ends.

        Raises EngineError, which begins with `needed`, where it is given and one of them cannot be trained.
        """
        trained = self.train(jobs, progress)
        try:
            if needed and (failed := next((one.failure for one in trained if one.failure), None)):
                raise EngineError(f"{needed}: {failed}")
            yield trained
        finally:
            for t in trained:
                if t.adapter:
                    self.engine.drop(t.adapter)

    # ------------------------------------------------------------ weights

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

    def answer(self, sets: Sequence[Asked], progress: Progress | None = None, form: Expectation = "answer") -> list[tuple[Answer, ...]]:
        """An answer to each question as the domain asks it, judged, with the log-likelihood of the gold one; (Q,) for each set. One call for all."""
        found: list[tuple[Answer, ...]] = self.domain.answer(self, sets, progress, form)
        return found

    def answer_once(self, sets: Sequence[Asked], progress: Progress | None = None, form: Expectation = "answer") -> list[tuple[Answer, ...]]:
        """As `answer`: one greedy answer to each."""
        flat = [(i, one, question) for i, one in enumerate(sets) for question in one.questions]
        completions = self.sample([self._request(one, question) for _, one, question in flat], progress)
        golds = [value for values in self.gold_once(sets, progress=progress, form=form) for value in values]
        answers = [self._answer(q, c, gold) for (_, _, q), c, gold in zip(flat, completions, golds, strict=True)]
        return _grouped([i for i, _, _ in flat], answers, len(sets))

    def draw(self, sets: Sequence[Asked], n: int, temperature: float, progress: Progress | None = None) -> list[tuple[Answer, ...]]:
        """As `answer`, but `n` answers to each question, drawn with the set's seed: (Q·n,) for each set."""
        flat = [(i, one, question, sample) for i, one in enumerate(sets) for question in one.questions for sample in range(n)]
        requests = [self._request(one, q, temperature, derive(one.seed, "draw", q.question, sample)) for _, one, q, sample in flat]
        answers = [self._answer(q, c) for (_, _, q, _), c in zip(flat, self.sample(requests, progress), strict=True)]
        return _grouped([i for i, _, _, _ in flat], answers, len(sets))

    def _request(self, one: Asked, question: Question, temperature: float = 0.0, seed: int = 0) -> SampleRequest:
        sampling = Sampling(self.recipe.questions.max_tokens, temperature, stop=self.render.answer_stop, seed=seed)
        return SampleRequest(self.question(one.task.title, question.question, one.shown, one.before), sampling, one.adapter)

    def question(self, title: str, question: str, shown: str = "", before: Sequence[tuple[str, str]] = ()) -> tuple[int, ...]:
        """How a question is put: without the passage (SEAL section 4.1), or after a text that is `shown`; with exchanges `before` it."""
        return self.render.ask(self.wording(title, question, shown), before)

    def wording(self, title: str, question: str, shown: str = "") -> str:
        """A question in words, after a text that is `shown`."""
        text: str = self.domain.question(title, question)
        return f"{shown}\n\n{text}" if shown else text

    def _answer(self, question: Question, completion: Completion, gold_logprob: float | None = None) -> Answer:
        said = completion.text.strip()
        return Answer(question, said, self.domain.correct(said, question), gold_logprob)

    def gold_once(
        self, sets: Sequence[Asked], shown: Sequence[str] = (), progress: Progress | None = None, form: Expectation = "answer"
    ) -> list[tuple[float | None, ...]]:
        """The log-likelihood of the gold answers, nats, (Q,) for each set; None where nobody knows one, or it is not a finite number.

        Nothing is written: cheaper than answers. `shown` is a text in view for each set. What `form` means is said in `rewards.base.Expectation`.
        """
        flat = [(i, one, q, text) for i, (one, text) in enumerate(zip(sets, shown or [""] * len(sets), strict=True)) for q in one.questions]
        said: list[tuple[int, bool, str]] = []
        for n, (_, one, question, _) in enumerate(flat):
            right, wrong = self.domain.expected(one.task, question, form) if question.answer else ([], [])
            said += [(n, True, text) for text in right] + [(n, False, text) for text in wrong]
        prompts = [self.question(one.task.title, q.question, text or one.shown, one.before) for _, one, q, text in flat]
        requests = [ScoreRequest(prompts[n], self.render.reply(text), flat[n][1].adapter) for n, _, text in said]
        scores = grouped(((n, is_right), score) for (n, is_right, _), score in zip(said, self.engine.score(requests, progress), strict=True))
        values = [_expected(scores.get((n, True), []), scores.get((n, False), [])) for n in range(len(flat))]
        return _grouped([i for i, _, _, _ in flat], values, len(sets))

    def gold(self, sets: Sequence[Asked], progress: Progress | None = None, form: Expectation = "answer") -> list[tuple[float | None, ...]]:
        """The log-likelihood of the gold answers as the domain asks, nats, (Q,) for each set; None where it is not known."""
        found: list[tuple[float | None, ...]] = self.domain.gold(self, sets, progress, form)
        return found

    def gold_of_jobs(self, jobs: Sequence[TrainJob], tasks: Sequence[Task], progress: Progress) -> list[tuple[float | None, ...]]:
        """Train an adapter for each job, score the gold answers to its task's reward questions in the reward's form, forget; () where it failed."""
        with self.adapters(jobs, progress) as trained:
            sets = [Asked(t.adapter, task, task.reward_questions if t.adapter else ()) for t, task in zip(trained, tasks, strict=True)]
            return self.gold(sets, progress=progress, form=self.reward.needs().form)

    def gold_in_view(self, shown: Sequence[tuple[Task, str]], progress: Progress) -> list[tuple[float | None, ...]]:
        """As `gold` for the tasks' reward questions, with a text in view, under the current weights."""
        sets = [Asked(None, task, task.reward_questions) for task, _ in shown]
        return self.gold_once(sets, [text for _, text in shown], progress, self.reward.needs().form)

    def reward_of_likelihood(self, answers: Sequence[Answer], base: Sequence[Answer]) -> float | None:
        """What gold answers' likelihoods alone come to: the probability of choosing right, where the reward is that, otherwise the gain."""
        from selfedit.rewards.choice import choice
        from selfedit.rewards.likelihood import likelihood

        form = self.reward.needs().form
        return (choice(answers) if form == "choice" else likelihood(answers, base)).value

    def expect(self, texts: Sequence[tuple[Adapter | None, Task, Sequence[str]]], progress: Progress | None = None) -> list[tuple[Score, ...]]:
        """The log-likelihood of texts about tasks, each after its task's title. One call for all."""
        tokenizer = self.engine.tokenizer
        flat = [(i, adapter, task, text) for i, (adapter, task, some) in enumerate(texts) for text in some]
        requests = [ScoreRequest(tokenizer.encode(f"{task.title}\n"), tokenizer.encode_more(text), adapter) for _, adapter, task, text in flat]
        return _grouped([i for i, _, _, _ in flat], self.engine.score(requests, progress), len(texts))


def _grouped(places: Sequence[int], values: Sequence[T], groups: int) -> list[tuple[T, ...]]:
    """Values by the place that each belongs to."""
    found = grouped(zip(places, values, strict=True))
    return [tuple(found.get(place, ())) for place in range(groups)]


def _expected(right: Sequence[Score], wrong: Sequence[Score]) -> float | None:
    """The log-likelihood a token of what is right or, beside what is wrong, of choosing it; None where there is nothing, or no finite number."""
    if not right:
        return None
    value = _any_of(right) - _any_of([*right, *wrong]) if wrong else right[0].mean
    return value if math.isfinite(value) else None


def _any_of(scores: Sequence[Score]) -> float:
    """The log-probability of any of these, each as a whole."""
    totals = [sum(score.logprobs) for score in scores]
    return max(totals) + math.log(sum(math.exp(total - max(totals)) for total in totals))
