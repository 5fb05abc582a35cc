"""One job trained by several threads together.

1. A job in lanes trains as in one pass after another, to 1e-9 (fp64): weights, every loss and metric, with any of the losses.
2. The same number of lanes gives the same bits.
3. The largest job is trained in lanes where its steps are large and all is done sooner so; who trains what depends on the jobs and workers alone.
4. What goes wrong in a lane, or in what is told of the progress, ends the call; so does the user.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.unit.engine.test_losses import REWARDED
from tests.unit.engine.test_training import numbers
from tests.unit.engine.tiny_engine import distance, engine, job

from selfedit.engine.torch import lanes
from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.train import planned_shares, train
from selfedit.types import Optimizer, TrainJob

PLAIN = job(0, (9, 14, 5, 30, 22, 7, 11), batch_size=5, epochs=2, optimizer=Optimizer(weight_decay=0.1, clip=0.1))


@pytest.fixture
def lanes_in_use(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Every step of several sequences has lanes; the threads that took part, beside the first."""
    seen, threads = set[int](), torch.get_num_threads()
    add = Arena.add_gradients

    def noted(mine: Arena, other: Arena) -> None:
        seen.add(id(other))
        add(mine, other)

    for name, value in {"ROWS": 1, "OVERHEAD": 0, "EFFICIENCY": 1.0}.items():
        monkeypatch.setattr(lanes, name, value)
    monkeypatch.setattr(Arena, "add_gradients", noted)
    yield seen
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("one", [PLAIN, *REWARDED], ids=lambda one: f"{one.loss}-{one.seed}")
def test_lanes_never_matter(one: TrainJob, lanes_in_use: set[int]) -> None:  # promises 1 and 2
    base = engine("llama").base
    [alone] = train(base, [one], 4, 64)
    for workers in (2, 3):
        lanes_in_use.clear()
        [first], [again] = (train(base, [one], 4, 64, workers) for _ in range(2))
        assert lanes_in_use or len(one.groups) == 1
        assert first.weights and again.weights and alone.weights
        assert torch.equal(numbers(first.weights), numbers(again.weights)) and (first.losses, first.metrics) == (again.losses, again.metrics)
        assert distance(numbers(first.weights), numbers(alone.weights)) <= 1e-9
        assert first.tokens == alone.tokens and first.losses == pytest.approx(alone.losses, rel=1e-9)
        assert all(values == pytest.approx(alone.metrics[name], rel=1e-9, abs=1e-12) for name, values in first.metrics.items())


def test_who_trains_what() -> None:  # promise 3
    large, larger, small = job(0, (400,) * 8, batch_size=8), job(1, (400,) * 16, batch_size=8), job(2, (20,) * 8, batch_size=2)
    assert planned_shares([large], 2) == planned_shares([large], 1) == ([], [0])
    assert planned_shares([small], 2) == ([[0]], []) and planned_shares([], 2) == ([[]], [])
    assert planned_shares([large, large], 2) == ([[0], [1]], [])
    assert planned_shares([small, large, small], 2) == ([[0], [2]], [1])
    assert planned_shares([large, large, large], 2) == ([[1], [2]], [0])
    assert planned_shares([larger, large, large], 2) == ([[0], [1, 2]], [])
    assert planned_shares([job(3, (2000,), batch_size=4), TrainJob(())], 2) == ([[0], [1]], [])


def test_alone_after_the_others(lanes_in_use: set[int]) -> None:  # promises 1 and 3
    """What is reported grows to the whole."""
    base, jobs, reports = engine("llama").base, [job(1, (5,)), PLAIN, job(2, (6,))], list[tuple[int, int]]()
    assert planned_shares(jobs, 2) == ([[2], [0]], [1])
    found = train(base, jobs, 4, 64, 2, lambda done, total: reports.append((done, total)))
    assert lanes_in_use and reports[-1] == (207, 207) and reports == sorted(reports)
    for one, outcome in zip(jobs, found, strict=True):
        [alone] = train(base, [one], 4, 64)
        assert outcome.weights and alone.weights and distance(numbers(outcome.weights), numbers(alone.weights)) <= 1e-9


@pytest.mark.parametrize("error", [OSError("no room"), KeyboardInterrupt()], ids=["error", "user"])
@pytest.mark.parametrize("where", ["lane", "progress"])
def test_what_goes_wrong(error: BaseException, where: str, lanes_in_use: set[int], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    def broken(*_: object) -> None:
        raise error

    if where == "lane":
        monkeypatch.setattr(lanes, "accumulate_gradients", broken)
    with pytest.raises(type(error)):
        train(engine("llama").base, [PLAIN], 4, 64, 2, broken if where == "progress" else None)


def test_a_job_that_diverges_in_lanes(lanes_in_use: set[int]) -> None:  # promise 1
    """It fails with the same words."""
    hot = job(0, (9, 14, 5, 30), batch_size=4, epochs=4, optimizer=Optimizer(lr=1e300, clip=0.0))
    [alone], [shared] = (train(engine("llama").base, [hot], 4, 64, workers) for workers in (1, 2))
    assert lanes_in_use and shared.weights is None and shared.failure and shared.failure == alone.failure
