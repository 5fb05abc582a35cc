"""Sequences of a training pass that begin alike.

1. Their attention is that of each whole sequence: forward, gradients of q, k, v, with and without a window, a soft cap and grouped heads.
2. A tree holds every sequence, its positions and nothing twice; sequences that share little stay as they were, in their order.
3. A job trains as if nothing were shared, to 1e-7: every family, loss and number of workers, and the slow way for unknown architectures. (It is fp64,
   but transformers' norms round gradients to fp32: here once for what several sequences send back, there once for each.)
4. Fewer tokens go through the model, and passes are packed by those.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.test_kernels import CPU, plain_attention, randn
from tests.unit.engine.test_losses import REWARDED
from tests.unit.engine.test_training import numbers
from tests.unit.engine.tiny_engine import FAMILIES, distance, engine, prose, reference

from selfedit.engine.torch import branches
from selfedit.engine.torch.branches import LEAST, Tree, by_beginning, common
from selfedit.engine.torch.fallback import Fallback
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.train import train
from selfedit.models import Family
from selfedit.types import Datum, LoraShape, Tokens, TrainJob


def family_of(seed: int, beginnings: Sequence[int], own: Sequence[int]) -> list[Tokens]:
    """Sequences with nested beginnings of these lengths, in no order: frame, frame and passage, ..."""
    rng = random.Random(seed)
    made = [prose(rng, n) for n in own]
    for length in beginnings:
        begun = prose(rng, length)
        made = [begun + text for text in made] + [prose(rng, 9)]
    rng.shuffle(made)
    return made


TEXTS = family_of(0, (40, 50), (7, 1, 12, 30, 7))
LONGEST = max(TEXTS, key=len)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 10, 64])
@pytest.mark.parametrize("heads", [(4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("texts", [TEXTS, family_of(1, (LEAST + 1,), (400, 3)), [LONGEST, LONGEST, LONGEST[:-3]]])
def test_attention(texts: list[Tokens], heads: tuple[int, int], window: int | None, softcap: float | None) -> None:  # promise 1
    torch.manual_seed(0)
    H, G = heads
    tree = Tree.of([texts])
    N, lengths = len(tree.tokens), [len(text) for text in texts]
    assert tree.branched and sum(lengths) > N
    q, k, v = randn(N, H, 8), randn(N, G, 8), randn(N, G, 8)
    out = tree.attention(CPU, None)(0, q, k, v, 0.3, window, softcap)
    rows = torch.tensor([row for some in tree.rows for row in some])
    whole = plain_attention(q[rows], k[rows], v[rows], lengths, 0.3, window, softcap)
    ends = torch.tensor([row for some, own in zip(tree.rows, tree.own, strict=True) for row in some[-own:]])
    last = torch.cat([each[-own:] for each, own in zip(whole.split(lengths), tree.own, strict=True)])
    expected = torch.zeros_like(out).index_copy(0, ends, last)
    up = torch.randn_like(out)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    for mine, theirs in zip(*(torch.autograd.grad(y, (q, k, v), up) for y in (out, expected)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2 * LEAST), st.integers(1, 40)), min_size=1, max_size=6).map(
            lambda shapes: [tuple([frame] * begun + list(range(10, 10 + own))) for frame, begun, own in shapes]
        ),
        min_size=1,
        max_size=3,
    )
)
def test_tree(jobs: list[list[Tokens]]) -> None:  # promise 2
    tree = Tree.of(jobs)
    texts = [text for job in jobs for text in job]
    assert [tuple(tree.tokens[row] for row in rows) for rows in tree.rows] == texts
    assert all([tree.positions[row] for row in rows] == list(range(len(rows))) for rows in tree.rows)
    own = [row for i in tree.order for row in tree.rows[i][-tree.own[i] :]]
    assert own == list(range(len(tree.tokens))) and sum(tree.sizes) == len(own) and sorted(tree.order) == list(range(len(texts)))
    at = 0
    for job, size in zip(jobs, tree.sizes, strict=True):
        numbers_of = range(at, at + len(job))
        start = sum(tree.sizes[: jobs.index(job)]) if jobs.count(job) == 1 else None
        if start is not None:
            assert {row for i in numbers_of for row in tree.rows[i]} == set(range(start, start + size))  # a job shares with itself alone
        if not by_beginning(job):
            assert size == sum(map(len, job)) and [i for i in tree.order if i in numbers_of] == list(numbers_of)
        at += len(job)
    assert tree.branched == any(by_beginning(job) for job in jobs)


def test_common() -> None:  # promise 2
    one = tuple(range(LEAST + 10))
    assert common(one, one) == LEAST + 9 and common(one, (*one[:LEAST], 99, 99)) == LEAST and common(one, one[: LEAST + 1]) == LEAST
    assert common(one, one[:LEAST]) == common(one, (*one[: LEAST - 1], 99, 99, 99)) == common((), one) == 0


def begun_alike(one: TrainJob) -> TrainJob:
    """Its sequences after a beginning that is not learned."""
    frame = prose(random.Random(9), LEAST + 8)

    def after(d: Datum) -> Datum:
        known = {name: (0.0,) * len(frame) + getattr(d, name) for name in ("old_logprobs", "reference_logprobs") if getattr(d, name)}
        return replace(d, tokens=frame + d.tokens, weights=(0.0,) * len(frame) + tuple(d.weights), **known)

    steady = replace(one.optimizer, eps=1e-3)  # with its usual one, Adam makes of rounding in a gradient near 0 what it makes of a gradient
    return replace(one, data=tuple(map(after, one.data)), optimizer=steady)


def plain_job(**options: Any) -> TrainJob:
    rng = random.Random(3)
    return TrainJob(
        tuple(Datum(t, (0.0,) * 2 + (1.0,) * (len(t) - 2)) for t in (prose(rng, n) for n in (9, 14, 5, 30, 22, 7, 11, 3))),
        lora=LoraShape(4, 8.0),
        batch_size=5,
        epochs=2,
        **options,
    )


def seen_by(base: Base, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each pass from now on."""
    passes, forward = list[int](), base.forward

    def counted(tokens: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        passes.append(len(tokens))
        return forward(tokens, *args, **options)

    monkeypatch.setattr(base, "forward", counted)
    return passes


def compared(base: Base, jobs: list[TrainJob], monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
    """Trained with what is shared computed once, and without."""
    passes = seen_by(base, monkeypatch)
    found = train(base, jobs, 4, 128, workers)
    with monkeypatch.context() as patch:
        patch.setattr(branches, "LEAST", 10**6)
        shared, passes[:] = sum(passes), []
        wanted = train(base, jobs, 4, 128)
    assert shared < 0.8 * sum(passes)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.weights and theirs.weights and distance(numbers(mine.weights), numbers(theirs.weights)) <= 1e-7
        assert mine.tokens == theirs.tokens and mine.losses == pytest.approx(theirs.losses, rel=1e-7)
        assert all(values == pytest.approx(theirs.metrics[name], rel=1e-6, abs=1e-9) for name, values in mine.metrics.items())


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("one", [plain_job(), *REWARDED], ids=lambda one: f"{one.loss}-{one.seed}")
def test_sharing_never_matters(one: TrainJob, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:  # promises 3 and 4
    compared(engine("llama").base, [begun_alike(one)], monkeypatch, workers)


@pytest.mark.parametrize("family", FAMILIES)
def test_sharing_never_matters_in_any_family(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    """Two jobs with the same beginnings, which each computes under its own adapter, and one that shares nothing."""
    jobs = [begun_alike(plain_job(seed=1)), begun_alike(plain_job(seed=2)), plain_job(seed=3)]
    compared(engine(family).base, jobs, monkeypatch)


def test_the_slow_way_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    """It reads each sequence from its beginning, and hands on what is the sequence's own."""
    model = reference("llama")
    slow = Fallback(model)
    model.enable_input_require_grads()
    compared(slow, [begun_alike(plain_job())], monkeypatch)
