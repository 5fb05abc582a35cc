"""Ways that change one model, or one adapter that is always on, again and again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from stream import (
    ANCHORS,
    COST,
    TEACHER,
    Found,
    Making,
    Stream,
    Way,
    abilities,
    always_on,
    as_it_came,
    direct,
    everyday_answers,
    right,
    unchanged,
)

from selfedit.baselines.base import matched
from selfedit.guards.shrink import largest
from selfedit.retention import everyday
from selfedit.types import EWC, Adapter, Datum, Fisher, OLoRA, SampleRequest, Sampling, ScoreRequest, TrainJob

ELASTIC, ORTHOGONAL = 1.0, 0.5
"""How strong EWC's penalty is beside a loss in nats a token, and O-LoRA's, the λ1 of the authors' scripts. Neither was tuned."""


def untouched(s: Stream) -> Found:
    """Nothing is learned. The untrained model is asked in its chat form, in which it answers best."""
    scores = as_it_came(s, [""] * sum(len(task.report_questions) for task in s.tasks))
    return Found(scores, scores, 1.0, abilities(s.policy), 0)


def one_after_another(make: Making, keep: Callable[[Stream, Adapter], float] = lambda s, adapter: 1.0) -> Way:
    """The authors' way: an adapter is trained on each document on top of the last, and merged into the model at the scale that `keep` allows."""

    def way(s: Stream) -> Found:
        def learn(number: int) -> tuple[None, int]:
            with s.policy.adapters([make(s, number)]) as [trained]:
                assert trained.adapter is not None, trained.failure
                add(s, trained.adapter, keep(s, trained.adapter))
                return None, trained.tokens

        found = measured(s, learn)
        s.policy.engine.reset()
        return found

    return way


def measured(s: Stream, learn: Callable[[int], tuple[Adapter | None, int]]) -> Found:
    """What comes of learning document after document: `learn` says which adapter then is in force, if any, and how many tokens it was trained on."""
    before, immediate, tokens, adapter = everyday_answers(s.policy), [], 0, None
    matrix = [right(direct(s.policy, s.tasks))] if s.whole else []
    for number, task in enumerate(s.tasks):
        adapter, taken = learn(number)
        tokens += taken
        now = direct(s.policy, s.tasks if s.whole else [task], [adapter])
        immediate.append(now[number] if s.whole else now[0])
        matrix += [right(now)] if s.whole else []
    same = unchanged(before, everyday_answers(s.policy, adapter))
    return Found(immediate, direct(s.policy, s.tasks, [adapter]), same, abilities(s.policy, adapter), tokens, matrix=matrix)


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
    """The self-edit, and everyday prompts with the answers of the untrained model."""
    return s.job(s.edits[number], number, replay=len(s.replay))


def beside_earlier(share: float) -> Making:
    """The self-edit, and a share of the examples of all documents before it, drawn evenly; for as many tokens as without."""

    def make(s: Stream, number: int) -> TrainJob:
        earlier = [example for edit in s.edits[:number] for example in edit]
        drawn = random.Random(number).sample(earlier, round(share * len(earlier)))
        return matched(s.job([*s.edits[number], *drawn], number, replay=0), alone(s, number).tokens)

    return make


def near_the_base(s: Stream, number: int) -> TrainJob:
    """Everyday answers are learned from the distributions of the untrained model (KL to the base), not as texts."""
    own = s.job(s.edits[number], number, replay=0)
    taught = with_teacher(s, tuple(s.policy.render.datum(example) for example in s.replay), "everyday")
    both = replace(own, data=(*own.data, *taught), loss="distill", loss_options={"reverse": 0.0, "temperature": 1.0})
    return matched(both, own.tokens)


def with_teacher(s: Stream, data: Sequence[Datum], name: str) -> list[Datum]:
    """Each sequence with the likeliest tokens of the untrained model."""
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
    return matched(replace(own, data=(*texts, *data), loss="distill", loss_options=options), own.tokens)


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
    """What the untrained model says to the anchors."""
    if "anchors" not in s.known:
        prompts = [s.policy.render.ask(one.prompt) for one in everyday("gate")[:ANCHORS]]
        said = s.policy.sample([SampleRequest(prompt, Sampling(32, stop=s.policy.render.answer_stop)) for prompt in prompts])
        s.known["anchors"] = [Datum(p + one.tokens, (0.0,) * len(p) + (1.0,) * len(one.tokens)) for p, one in zip(prompts, said, strict=True)]
    return s.known["anchors"]


def growing(elastic: float = 0.0) -> Way:
    """One adapter that is trained on, document after document, and never merged; with `elastic` it is held by EWC.

    As in online EWC (arXiv 1805.06370) there is one penalty, around the adapter as the last document left it, by the sum of all documents' Fisher
    information.
    """

    def way(s: Stream) -> Found:
        grown: Adapter | None = None
        fisher: Fisher | None = None

        def learn(number: int) -> tuple[Adapter, int]:
            nonlocal grown, fisher
            job = replace(alone(s, number), start=grown, penalties=(EWC(elastic, grown, fisher),) if grown and fisher else ())
            [trained] = s.policy.train([job])
            assert trained.adapter is not None, trained.failure
            known = s.policy.engine.fisher(trained.adapter, job.data, fisher) if elastic else None
            forget(s, grown, fisher)
            grown, fisher = trained.adapter, known
            return grown, trained.tokens

        found = measured(s, learn)
        forget(s, grown, fisher)
        return found

    return way


def forget(s: Stream, *adapters: Adapter | None) -> None:
    """Drop adapters, where there are any."""
    for adapter in filter(None, adapters):
        s.policy.engine.drop(adapter)


def o_lora(s: Stream) -> Found:
    """As `merge`, but each adapter's A is kept orthogonal to those of all before it (O-LoRA); their sum is the model."""
    earlier: list[Adapter] = []

    def make(s: Stream, number: int) -> TrainJob:
        return replace(alone(s, number), penalties=(OLoRA(ORTHOGONAL, tuple(earlier)),) if earlier else ())

    def keep(s: Stream, adapter: Adapter) -> float:
        earlier.append(s.policy.engine.scaled(adapter, 1.0))  # a handle of its own: the adapter is dropped once it is merged
        return 1.0

    found = one_after_another(make, keep)(s)
    forget(s, *earlier)
    return found


def consolidated(s: Stream) -> Found:
    """One adapter on the self-edits of all documents together, always on."""
    with s.policy.adapters([s.job([example for edit in s.edits for example in edit], 0)]) as [trained]:
        assert trained.adapter is not None, trained.failure
        return always_on(s, trained.adapter, trained.tokens)
