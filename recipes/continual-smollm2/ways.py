"""Ways to learn documents one after another: functions of a `Stream`, which holds the documents, a self-edit of each, and what ways share."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from merges import linear, ties

from selfedit.baselines.base import matched, tokens_of
from selfedit.guards.shrink import largest
from selfedit.library import Adapters, Document, Entry, Library, calibrate, request, routes
from selfedit.library.routing import candidates
from selfedit.policy import Asked, Policy, Renderer
from selfedit.retention import everyday
from selfedit.retention.probes import ask_probes, some
from selfedit.store.artifacts import digest_of
from selfedit.text import judge_answer
from selfedit.types import Adapter, Datum, Example, Question, SampleRequest, Sampling, ScoreRequest, Task, TrainJob

Scores = list[tuple[float, float]]
"""Right or not, and F1, of each question of a document."""
EVERYDAY, PROBES, ANCHORS, REPLAYED = 60, 112, 24, 8
"""Everyday prompts whose answers are compared, probes of ability, everyday prompts by which STABLE measures what an edit costs, and everyday prompts
that are trained on beside each document where a way replays them."""
TEACHER = 32
"""Likeliest tokens that a teacher gives at each place."""
COST = 0.055
"""Nats a token that an edit may cost on anchors: STABLE's .08 bits (arXiv 2510.16089)."""


@dataclass(frozen=True)
class Found:
    """What a way came to.

    Scores of each document just after it was learned and at the end; the share of everyday answers that stayed; what became of each probe.
    `matrix` (T + 1, T), where it was measured: right answers about each document after 0, 1, ... T edits.
    """

    immediate: list[Scores]
    final: list[Scores]
    locality: float
    ability: list[float]
    tokens: int
    seconds: float = 0.0
    matrix: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Stream:
    """A sequence of documents with what all ways share: `replay` are everyday prompts with the answers of the model as it came.

    `whole` asks for the matrix where a way can give it.
    """

    policy: Policy
    tasks: list[Task]
    edits: list[tuple[Example, ...]]
    replay: tuple[Example, ...]
    folder: Path
    made: Sequence[Path]
    """The folder of each document's own adapter, which a longer sequence takes from the shorter one that had the document."""
    whole: bool = False
    known: dict[str, list[Datum]] = field(default_factory=dict)
    """What the model as it came expects or says, by what it was asked; asked once, before anything is merged."""

    def job(self, examples: Sequence[Example], number: int, replay: int | None = None) -> TrainJob:
        """Training with as many everyday prompts beside it as the recipe says; with another number of them, for as many tokens."""
        self.policy.replay = self.replay[: self.policy.inner.settings.replay]
        full = self.policy.job(examples, number)
        if replay is None:
            return full
        self.policy.replay = self.replay[:replay]
        return matched(self.policy.job(examples, number), tokens_of(full))


Way = Callable[[Stream], Found]
Making = Callable[[Stream, int], TrainJob]
"""The training on document number n of a stream, given the model's weights as they are when it comes."""


# ---------------------------------------------------------------- asking


def graded(said: str, question: Question) -> tuple[float, float]:
    """Right by the local judge, and F1."""
    verdict = judge_answer(said, question.golds)
    return float(verdict.correct), verdict.f1


def direct(policy: Policy, tasks: Sequence[Task], adapters: Sequence[Adapter | None] = (None,)) -> list[Scores]:
    """Greedy answers without the passage, of one adapter or of one for each document, scored."""
    given = [adapters[n % len(adapters)] for n in range(len(tasks))]
    answers = policy.answer([Asked(adapter, task, task.report_questions) for adapter, task in zip(given, tasks, strict=True)])
    return [[graded(answer.prediction, answer.question) for answer in some] for some in answers]


def as_it_came(s: Stream, shown: Sequence[str]) -> list[Scores]:
    """Answers of the model as it came, in its chat form, each with a text in view or without one, scored."""
    render = Renderer(s.policy.engine.tokenizer)
    flat = [(n, task, q) for n, task in enumerate(s.tasks) for q in task.report_questions]
    sampling = Sampling(s.policy.recipe.questions.max_tokens, stop=render.answer_stop)
    requests = [
        SampleRequest(render.ask(s.policy.wording(task.title, q.question, text)), sampling) for (_, task, q), text in zip(flat, shown, strict=True)
    ]
    return by_document(len(s.tasks), [(n, q, completion.text) for (n, _, q), completion in zip(flat, s.policy.sample(requests), strict=True)])


def by_document(documents: int, said: Sequence[tuple[int, Question, str]]) -> list[Scores]:
    """Scores by document of answers in any order: (number of the document, question, answer)."""
    scores: list[Scores] = [[] for _ in range(documents)]
    for n, question, text in said:
        scores[n].append(graded(text.strip(), question))
    return scores


def right(scores: Sequence[Scores]) -> list[float]:
    """The share of right answers about each document."""
    return [fmean(one for one, _ in document) for document in scores]


def everyday_answers(policy: Policy, adapter: Adapter | None = None) -> list[str]:
    """Answers to everyday prompts that are for measuring alone."""
    prompts = [policy.render.ask(one.prompt) for one in everyday("check")[:EVERYDAY]]
    return [c.text for c in policy.sample([SampleRequest(p, Sampling(48, stop=policy.render.answer_stop), adapter) for p in prompts])]


def unchanged(before: Sequence[str], after: Sequence[str]) -> float:
    """The share of answers that are the same, word for word."""
    return fmean(float(a == b) for a, b in zip(before, after, strict=True))


def abilities(policy: Policy, adapter: Adapter | None = None) -> list[float]:
    """What became of each probe."""
    return [one.value or 0.0 for one in ask_probes(policy, adapter, chosen=some(limit=PROBES))]


def always_on(s: Stream, adapter: Adapter, tokens: int) -> Found:
    """What one adapter for all documents comes to, whatever is asked."""
    scores = direct(s.policy, s.tasks, [adapter])
    same = unchanged(everyday_answers(s.policy), everyday_answers(s.policy, adapter))
    return Found(scores, scores, same, abilities(s.policy, adapter), tokens)


# ---------------------------------------------------------------- one model, changed again and again


def untouched(s: Stream) -> Found:
    """Nothing is learned. The model as it came is asked in its chat form, in which it answers best."""
    scores = as_it_came(s, [""] * sum(len(task.report_questions) for task in s.tasks))
    return Found(scores, scores, 1.0, abilities(s.policy), 0)


def one_after_another(make: Making, keep: Callable[[Stream, Adapter], float] = lambda s, adapter: 1.0) -> Way:
    """The authors' way: an adapter is trained on each document on top of the last, and merged into the model at the scale that `keep` allows."""

    def way(s: Stream) -> Found:
        before, immediate, tokens = everyday_answers(s.policy), [], 0
        matrix = [right(direct(s.policy, s.tasks))] if s.whole else []
        for number, task in enumerate(s.tasks):
            with s.policy.adapters([make(s, number)]) as [trained]:
                assert trained.adapter is not None, trained.failure
                add(s, trained.adapter, keep(s, trained.adapter))
                tokens += trained.tokens
            now = direct(s.policy, s.tasks) if s.whole else direct(s.policy, [task])
            immediate.append(now[number] if s.whole else now[0])
            matrix += [right(now)] if s.whole else []
        same = unchanged(before, everyday_answers(s.policy))
        found = Found(immediate, direct(s.policy, s.tasks), same, abilities(s.policy), tokens, matrix=matrix)
        s.policy.engine.reset()
        return found

    return way


def add(s: Stream, adapter: Adapter, scale: float) -> None:
    """Merge an adapter, made smaller; at scale 0 it is refused."""
    if scale == 1:
        s.policy.engine.merge(adapter)
    elif scale > 0:
        smaller = s.policy.engine.scaled(adapter, scale)
        s.policy.engine.merge(smaller)
        s.policy.engine.drop(smaller)


def alone(s: Stream, number: int) -> TrainJob:
    """The self-edit and nothing else."""
    return s.job(s.edits[number], number, replay=0)


def beside_everyday(s: Stream, number: int) -> TrainJob:
    """The self-edit, and everyday prompts with the answers of the model as it came."""
    return s.job(s.edits[number], number, replay=len(s.replay))


def beside_earlier(share: float) -> Making:
    """The self-edit, and a share of the examples of all documents before it, drawn evenly; for as many tokens as without."""

    def make(s: Stream, number: int) -> TrainJob:
        earlier = [example for edit in s.edits[:number] for example in edit]
        drawn = random.Random(number).sample(earlier, round(share * len(earlier)))
        return matched(s.job([*s.edits[number], *drawn], number, replay=0), tokens_of(alone(s, number)))

    return make


def near_the_base(s: Stream, number: int) -> TrainJob:
    """Everyday answers are learned from the distributions of the model as it came (KL to the base), not as texts."""
    own = s.job(s.edits[number], number, replay=0)
    taught = with_teacher(s, tuple(s.policy.render.datum(example) for example in s.replay), "everyday")
    both = replace(own, data=(*own.data, *taught), loss="distill", loss_options={"reverse": 0.0, "temperature": 1.0})
    return matched(both, tokens_of(own))


def with_teacher(s: Stream, data: Sequence[Datum], name: str) -> list[Datum]:
    """Each sequence with the likeliest tokens of the model as it came."""
    if name not in s.known:
        asked = [d.weights.index(1.0) for d in data]
        scores = s.policy.engine.score([ScoreRequest(d.tokens[:n], d.tokens[n:], top=TEACHER) for d, n in zip(data, asked, strict=True)])
        s.known[name] = [replace(d, teacher=((),) * n + one.top) for d, n, one in zip(data, asked, scores, strict=True)]
    return s.known[name]


def from_the_open_book(s: Stream, number: int) -> TrainJob:
    """Self-distillation: the model's answers to the self-edit's questions with the passage in view, and its distributions, are learned without it.

    The answers are the teacher's own, greedy; SDFT (arXiv 2601.19897) draws the student's.
    """
    render, task = s.policy.render, s.tasks[number]
    questions = [example.prompt for example in s.edits[number] if example.prompt]
    seen = [render.ask(f"{task.context}\n\n{question}") for question in questions]
    said = s.policy.sample([SampleRequest(prompt, Sampling(48, stop=render.answer_stop)) for prompt in seen])
    answers = [render.reply(completion.text.strip()) for completion in said]
    scores = s.policy.engine.score([ScoreRequest(prompt, answer, top=TEACHER) for prompt, answer in zip(seen, answers, strict=True)])
    data = []
    for question, answer, score in zip(questions, answers, scores, strict=True):
        prompt = render.ask(question)
        weights = (0.0,) * len(prompt) + (1.0,) * len(answer)
        data.append(Datum(prompt + answer, weights, teacher=((),) * len(prompt) + score.top))
    own = s.job(s.edits[number], number)
    texts = tuple(render.datum(example) for example in s.edits[number] if not example.prompt)
    options = {"reverse": 0.0, "temperature": 1.0}
    return matched(replace(own, data=(*texts, *data), loss="distill", loss_options=options), tokens_of(own))


def stable(s: Stream, adapter: Adapter) -> float:
    """The largest scale at which an edit costs no more than `COST` on anchors, by five bisections; none below a tenth (STABLE)."""
    anchors = [(d.tokens, d.weights.index(1.0)) for d in spoken(s) if 1.0 in d.weights]

    def likely(one: Adapter | None) -> float:
        return fmean(score.mean for score in s.policy.engine.score([ScoreRequest(t[:n], t[n:], one) for t, n in anchors]))

    def passes(scale: float) -> bool:
        smaller = s.policy.engine.scaled(adapter, scale)
        try:
            return before - likely(smaller) <= COST
        finally:
            s.policy.engine.drop(smaller)

    before = likely(None)
    return 1.0 if passes(1.0) else largest(passes, 1.0) or 0.0


def spoken(s: Stream) -> list[Datum]:
    """What the model as it came says to the anchors."""
    if "anchors" not in s.known:
        prompts = [s.policy.render.ask(one.prompt) for one in everyday("gate")[:ANCHORS]]
        said = s.policy.sample([SampleRequest(prompt, Sampling(32, stop=s.policy.render.answer_stop)) for prompt in prompts])
        s.known["anchors"] = [Datum(p + one.tokens, (0.0,) * len(p) + (1.0,) * len(one.tokens)) for p, one in zip(prompts, said, strict=True)]
    return s.known["anchors"]


def consolidated(s: Stream) -> Found:
    """One adapter on the self-edits of all documents together, always on."""
    with s.policy.adapters([s.job([example for edit in s.edits for example in edit], 0)]) as [trained]:
        assert trained.adapter is not None, trained.failure
        return always_on(s, trained.adapter, trained.tokens)


# ---------------------------------------------------------------- an adapter for each document


def train_library(s: Stream) -> int:
    """An adapter for each document that has none yet, in its folder; returns the tokens that all of them were trained on."""
    missing = [n for n, at in enumerate(s.made) if not spent(at).is_file()]
    with s.policy.adapters([s.job(s.edits[n], n) for n in missing]) as trained:
        for n, one in zip(missing, trained, strict=True):
            assert one.adapter is not None, one.failure
            shutil.rmtree(s.made[n], ignore_errors=True)
            s.policy.engine.export(one.adapter, s.made[n])
            spent(s.made[n]).write_text(str(one.tokens))
    return sum(int(spent(at).read_text()) for at in s.made)


def spent(made: Path) -> Path:
    """The file with the tokens that an adapter was trained on."""
    return made.with_suffix(".tokens")


def library(titled: bool = False) -> Way:
    """The default of `selfedit learn`: each document joins the library, and the gate decides who answers; questions come without their title."""

    def way(s: Stream) -> Found:
        tokens, immediate = train_library(s), []
        known = Library(s.folder / "titled" if titled else s.folder)
        shutil.rmtree(known.folder, ignore_errors=True)
        with Adapters(s.policy.engine, known) as adapters:
            matrix = [right(direct(s.policy, s.tasks))] if s.whole else []
            for number, (task, edit, at) in enumerate(zip(s.tasks, s.edits, s.made, strict=True)):
                recipe = s.policy.recipe.model_dump(mode="json")
                known.add([Entry(digest_of(at), at, (Document.of(task, edit),), "model", recipe, "run")], note=task.title)
                calibrate(adapters)
                now = routed(s, adapters, s.tasks if s.whole else [task], titled)
                immediate.append(now[number] if s.whole else now[0])
                matrix += [right(now)] if s.whole else []
            final = routed(s, adapters, s.tasks, titled)
            inside = [route.found is not None for route in routes(adapters, [one.prompt for one in everyday("check")])]
            return Found(immediate, final, 1 - fmean(inside), gated_abilities(s, adapters), tokens, matrix=matrix)

    return way


def gated_abilities(s: Stream, adapters: Adapters) -> list[float]:
    """What becomes of each probe when the gate decides who answers it."""
    probes, values = some(limit=PROBES), []
    before = ask_probes(s.policy, None, chosen=probes)
    for probe, one, route in zip(probes, before, routes(adapters, [probe.question for probe in probes]), strict=True):
        to = adapters.load(route.found.entry) if route.found else None
        values.append((ask_probes(s.policy, to, chosen=[probe])[0] if to else one).value or 0.0)
    return values


def routed(s: Stream, adapters: Adapters, tasks: Sequence[Task], titled: bool) -> list[Scores]:
    """Questions asked as `selfedit ask` asks them."""
    flat = [(n, q) for n, task in enumerate(tasks) for q in task.report_questions]
    chosen = routes(adapters, [f"{tasks[n].title}: {q.question}" if titled else q.question for n, q in flat])
    most = s.policy.recipe.questions.max_tokens
    said = s.policy.sample([request(s.policy, adapters, who, q.question, most) for who, (_, q) in zip(chosen, flat, strict=True)])
    return by_document(len(tasks), [(n, q, completion.text) for (n, q), completion in zip(flat, said, strict=True)])


def chosen_by(pick: Callable[[int, int], int]) -> Way:
    """The library's adapters, the title given, and the adapter picked by number of document and of documents."""

    def way(s: Stream) -> Found:
        tokens = train_library(s)
        handles = [s.policy.engine.load(at) for at in s.made]
        scores = direct(s.policy, s.tasks, [handles[pick(n, len(handles))] for n in range(len(s.tasks))])
        for handle in handles:
            s.policy.engine.drop(handle)
        return Found(scores, scores, 1.0, [], tokens)

    return way


def joined(join: Callable[[Sequence[Path], Path], None]) -> Way:
    """The library's adapters made into one, always on."""

    def way(s: Stream) -> Found:
        tokens = train_library(s)
        join(s.made, s.folder / "joined")
        adapter = s.policy.engine.load(s.folder / "joined")
        try:
            return always_on(s, adapter, tokens)
        finally:
            s.policy.engine.drop(adapter)

    return way


# ---------------------------------------------------------------- the passage in the prompt


def retrieving(passages: int, adapted: bool = False) -> Way:
    """Passages in the prompt, as many as BM25 finds first (0: the right one); asked of the model as it came, or of the first passage's adapter."""

    def way(s: Stream) -> Found:
        tokens = train_library(s)
        known = Library(s.folder)
        texts = {task.title + task.context: task for task in s.tasks}

        def places(task: Task, question: Question) -> list[Task]:
            if not passages:
                return [task]
            [ones] = candidates(known, [question.question], passages)
            return [texts[one.document.title + one.document.context] for one in ones] or [task]

        flat = [(n, task, q, places(task, q)) for n, task in enumerate(s.tasks) for q in task.report_questions]
        shown = ["\n\n".join(place.context for place in found) for *_, found in flat]
        if not adapted:
            scores = as_it_came(s, shown)
            return Found(scores, scores, 1.0, [], 0)
        handles = {task.id: s.policy.engine.load(at) for task, at in zip(s.tasks, s.made, strict=True)}
        sampling = Sampling(s.policy.recipe.questions.max_tokens, stop=s.policy.render.answer_stop)
        requests = [
            SampleRequest(s.policy.question(task.title, q.question, text), sampling, handles[found[0].id])
            for (_, task, q, found), text in zip(flat, shown, strict=True)
        ]
        said = s.policy.sample(requests)
        for handle in handles.values():
            s.policy.engine.drop(handle)
        scores = by_document(len(s.tasks), [(n, q, completion.text) for (n, _, q, _), completion in zip(flat, said, strict=True)])
        return Found(scores, scores, 1.0, [], tokens)

    return way


RANDOM = random.Random(0)
DEFAULT = "library"
WAYS: dict[str, Way] = {
    "untouched": untouched,
    DEFAULT: library(),
    "library_with_title": library(titled=True),
    "right_adapter": chosen_by(lambda n, of: n),
    "random_adapter": chosen_by(lambda n, of: RANDOM.randrange(of)),
    "merge": one_after_another(alone),
    "everyday_replay": one_after_another(beside_everyday),
    "replay_1": one_after_another(beside_earlier(0.01)),
    "replay_10": one_after_another(beside_earlier(0.1)),
    "replay_100": one_after_another(beside_earlier(1.0)),
    "kl_to_base": one_after_another(near_the_base),
    "stable": one_after_another(beside_everyday, stable),
    "self_distillation": one_after_another(from_the_open_book),
    "linear_merge": joined(linear),
    "ties_merge": joined(ties),
    "consolidated": consolidated,
    "retrieved_passage": retrieving(1),
    "retrieved_passages_3": retrieving(3),
    "right_passage": retrieving(0),
    "library_and_retrieval": retrieving(1, adapted=True),
}
