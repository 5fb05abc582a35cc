"""One step of plain gradient descent, in the terms of AdamW, tells how two gradients lie to each other.

1. A step twice as long gains twice as much (to first order), by either measure; the answer's own text gains the most.
2. By cosine, how long the gradient is does not matter; by the dot product it does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.unit.engine import tiny_engine as tiny

from selfedit.engine.torch.engine import Torch
from selfedit.prefilters import gradient
from selfedit.prefilters.gradient import one_step
from selfedit.types import Datum, ScoreRequest, TrainJob

PROMPT = 12
"""Tokens of the question, before its answer."""


def gains(engine: Torch, jobs: Sequence[TrainJob], question: Datum) -> list[float]:
    """How much likelier, in nats, the answer becomes."""
    trained = engine.train(jobs)
    requests = [ScoreRequest(question.tokens[:PROMPT], question.tokens[PROMPT:], t.adapter) for t in trained]
    [before] = engine.score([replace(requests[0], adapter=None)])
    return [sum(s.logprobs) - sum(before.logprobs) for s in engine.score(requests)]


@pytest.mark.parametrize("measure", ["cosine", "dot"])
def test_twice_the_step_is_twice_the_gain(monkeypatch: pytest.MonkeyPatch, measure: str) -> None:  # promise 1
    engine, rng = tiny.engine(), random.Random(3)
    question = tiny.datum(rng, 24, prompt=PROMPT)
    jobs = [TrainJob(data, lora=tiny.RANK_4, seed=5) for data in ((tiny.datum(rng, 30), tiny.datum(rng, 18)), (question,))]
    found = []
    for step in (0.02, 0.04):
        monkeypatch.setattr(gradient, "STEP", step)
        found.append(gains(engine, [one_step(job, measure) for job in jobs], question))
    [once, own], [twice, _] = found
    assert twice == pytest.approx(2 * once, rel=0.1) and own > abs(once) > 0
    plain = one_step(jobs[0], measure)
    assert (plain.epochs, plain.batch_size, plain.optimizer.schedule) == (1, 2, "constant")


def test_the_length_of_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    """Two equal gradients of a scaled adapter: alpha 8 and 16 make gradients of one direction, one twice as long, and move the model twice as far."""
    monkeypatch.setattr(gradient, "STEP", 0.01)
    engine, rng = tiny.engine(), random.Random(4)
    question, data = tiny.datum(rng, 24, prompt=PROMPT), (tiny.datum(rng, 30),)
    small, large = (TrainJob(data, lora=replace(tiny.RANK_4, alpha=alpha), seed=5) for alpha in (8.0, 16.0))
    by_cosine = gains(engine, [one_step(small, "cosine"), one_step(large, "cosine")], question)
    by_dot = gains(engine, [one_step(small, "dot"), one_step(large, "dot")], question)
    assert by_cosine[1] == pytest.approx(2 * by_cosine[0], rel=0.05) and by_dot[1] == pytest.approx(4 * by_dot[0], rel=0.05)
