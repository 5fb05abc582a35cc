"""Training many adapters at once is training each alone, and training each alone is what PEFT and transformers do.

1. The patched base computes what transformers' own forward pass computes (fp64, ragged batch, longer than gemma3's window), every family: to 1e-11
   with its SDPA, to 1e-5 with its eager attention, which takes the softmax in fp32 whatever the model's type.
2. Alone equals together to 1e-9 (fp64, relative norm of the trained weights) and loss by loss: mixed ranks, alphas, targets, learning rates,
   schedules, warm-up, epochs, batch sizes, weight decay, clipping, seeds and lengths; in any order; with fewer slots than jobs; with passes so
   small that they split a step, and with large ones; every family.
3. Up to 64 jobs of sequences of 1 to 512 tokens, some of which nothing is learned from, train the same in any company, slots, passes and workers.
4. Against PEFT with torch's AdamW, clipping and transformers' schedules, same initial A, same data order: relative norm of the difference of the
   updates and the losses within 1e-3 in fp32; in fp64 within 1e-9, or 1e-6 where gradients are clipped (fused AdamW takes the factor in fp32).
   The same against PEFT with transformers' Trainer in fp32, gradients accumulated; the last half of the blocks alone is `layers_to_transform`.
5. The same call twice gives the same bits.
6. All workers together never hold more than `slots` adapters.
7. When a worker fails the others stop at their next report, whichever it is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.by_peft import fresh_peft, initial, train_by_trainer, train_peft, updates
from tests.unit.engine.tiny_engine import FAMILIES, Family, datum, distance, engine, flat, job, prose, reference
from torch import Tensor

from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.attention import FlatAttention
from selfedit.engine.torch.bank import Weights
from selfedit.engine.torch.engine import Torch
from selfedit.engine.torch.model import Base
from selfedit.engine.torch.train import train
from selfedit.engine.torch.workers import run_shares
from selfedit.types import LoraShape, Optimizer, Trained, TrainJob

CPU = torch.device("cpu")


@pytest.mark.parametrize(("attention", "tolerance"), [("sdpa", 1e-11), ("eager", 1e-5)])
@pytest.mark.parametrize("family", FAMILIES)
def test_forward_is_transformers_own(family: Family, attention: str, tolerance: float) -> None:  # promise 1
    base, model, rng = engine(family).base, reference(family, attention=attention), random.Random(0)
    sequences = [prose(rng, n) for n in (40, 3, 1, 37, 21, 64)]
    lengths = [len(s) for s in sequences]
    with torch.no_grad():
        tokens, positions = torch.tensor([t for s in sequences for t in s]), torch.cat([torch.arange(n) for n in lengths])
        hidden = base.forward(tokens, positions, FlatAttention(lengths, CPU))
        for sequence, mine in zip(sequences, (hidden @ base.head.weight.T).split(lengths), strict=True):
            torch.testing.assert_close(mine, model(torch.tensor([sequence])).logits[0], rtol=0, atol=tolerance)


# ---------------------------------------------------------------- alone equals together

MIXED = [
    job(0, lora=LoraShape(4, 8.0)),
    job(1, lora=LoraShape(1, 4.0), epochs=2, optimizer=Optimizer(lr=3e-3, schedule="cosine", warmup_steps=2)),
    job(2, lora=LoraShape(8, 8.0, ("q_proj", "v_proj")), batch_size=2, optimizer=Optimizer(weight_decay=0.1, clip=0.0)),
    job(3, (30, 25, 33, 6), lora=LoraShape(2, 16.0, ("down_proj",)), batch_size=3, epochs=3, optimizer=Optimizer(schedule="constant", clip=0.1)),
    job(4, (2,), epochs=4, optimizer=Optimizer(lr=1e-4, beta1=0.8, beta2=0.95, eps=1e-6)),
    job(5, (50, 9, 1, 18), batch_size=4, epochs=2),
    job(6, (17,) * 7, batch_size=3, optimizer=Optimizer(warmup_steps=100)),
    job(0, (5, 12), lora=LoraShape(4, 8.0), optimizer=Optimizer(lr=1e-2, weight_decay=0.01)),
]


def together(machine: Torch, jobs: list[TrainJob], budget: int) -> tuple[list[Trained], list[Tensor]]:
    machine.budget_tokens = budget
    results = machine.train(jobs)
    return results, [flat(machine, r) for r in results]


@pytest.mark.parametrize("family", FAMILIES)
def test_alone_equals_together(family: Family) -> None:  # promise 2
    machine = engine(family)
    alone = [machine.train([j])[0] for j in MIXED]
    weights = [flat(machine, r) for r in alone]
    shuffled = random.Random(1).sample(range(len(MIXED)), len(MIXED))
    for order, slots, budget in ((range(8), 16, 4096), (shuffled, 8, 64), (shuffled, 3, 200), (range(7, -1, -1), 2, 1), (range(8), 1, 10)):
        machine.settings = machine.settings.model_copy(update={"slots": slots})
        results, found = together(machine, [MIXED[i] for i in order], budget)
        for i, result, mine in zip(order, results, found, strict=True):
            assert distance(mine, weights[i]) <= 1e-9, (i, slots, budget)
            assert result.losses == pytest.approx(alone[i].losses, rel=1e-9) and result.tokens == alone[i].tokens


CALM = Optimizer(eps=1e-4)  # Adam's default turns the rounding of a gradient that cancels, 1e-17, into a step of 1e-9 lr
LENGTHS = st.integers(1, 12) | st.integers(1, 12) | st.integers(1, 512)


@st.composite
def jobs_of_any_size(draw: st.DrawFn) -> list[TrainJob]:
    """1 to 64 jobs of 1 to 4 sequences; of a few sequences nothing is learned."""
    jobs = []
    for seed in range(draw(st.integers(1, 64) | st.integers(1, 6))):
        rng = random.Random(seed)
        data = [(draw(LENGTHS), draw(st.sampled_from((0.0, 0.0, 0.5, 1.0)))) for _ in range(draw(st.integers(1, 4)))]
        sequences = tuple(datum(rng, n, prompt=int(n * share)) for n, share in data)
        jobs.append(TrainJob(sequences, LoraShape(1 + seed % 4, 4.0), CALM, batch_size=1 + seed % 3, seed=seed))
    return jobs


@settings(max_examples=15, deadline=None)
@given(jobs_of_any_size(), st.integers(1, 1500), st.integers(1, 16), st.integers(1, 3))
def test_any_jobs(jobs: list[TrainJob], budget: int, slots: int, workers: int) -> None:  # promise 3
    machine = SHARED.setdefault("llama", engine("llama"))
    found = train(machine.base, jobs, slots, budget, workers)
    for i in sorted({0, len(jobs) // 2, len(jobs) - 1}):
        [alone] = train(machine.base, [jobs[i]], 1, 10_000)
        assert (alone.failure, alone.tokens) == (found[i].failure, found[i].tokens) and found[i].losses == pytest.approx(alone.losses, rel=1e-9)
        assert (alone.weights is None) == (not any(w for d in jobs[i].data for w in d.weights[1:]))
        if alone.weights and found[i].weights:
            assert distance(numbers(found[i].weights), numbers(alone.weights)) <= 1e-9


def numbers(weights: Weights) -> Tensor:
    return torch.cat([z.flatten() for z in (*weights.down, *weights.up) if z is not None])


SHARED: dict[str, Torch] = {}


# ---------------------------------------------------------------- against PEFT


AGAINST_PEFT = {
    "linear": job(0, lora=LoraShape(8, 16.0), epochs=3, optimizer=Optimizer(lr=2e-3, warmup_steps=3, weight_decay=0.05)),
    "cosine": job(1, (20, 33, 9, 14, 25), LoraShape(4, 4.0, ("q_proj", "v_proj")), epochs=4, batch_size=2,
                  optimizer=Optimizer(lr=5e-3, schedule="cosine", warmup_steps=2, clip=0.05)),
    "constant": job(2, lora=LoraShape(2, 8.0, ("down_proj", "o_proj")), epochs=2, batch_size=3, optimizer=Optimizer(schedule="constant", clip=0.0)),
    "last half": job(3, lora=LoraShape(5, 8.0, ("q_proj", "down_proj"), (0.5, 1.0)), epochs=2, optimizer=Optimizer(lr=2e-3, weight_decay=0.05)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", AGAINST_PEFT)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_what_peft_does(family: Family, kind: str, dtype: torch.dtype) -> None:  # promise 4
    machine, one = engine(family, dtype), AGAINST_PEFT[kind]
    company = [job(7, (30, 4), epochs=2), one, job(8, (11, 12, 13), lora=LoraShape(3, 3.0))]
    trained = machine.train(company)[1]
    model = fresh_peft(reference(family, dtype), one.lora)
    losses = train_peft(model, one, *initial(machine, one))
    tolerance = 1e-3 if dtype == torch.float32 else 1e-6 if one.optimizer.clip else 1e-9
    assert trained.losses == pytest.approx(losses, rel=tolerance)
    assert distance(*updates(machine, trained, model)) <= tolerance


@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_what_trainer_does(family: Family, tmp_path: Path) -> None:  # promise 4
    machine = engine(family, torch.float32)
    o = Optimizer(lr=2e-3, warmup_steps=2, weight_decay=0.05)
    one = job(3, (20, 33, 9, 14, 25, 6), LoraShape(8, 16.0), epochs=3, batch_size=2, optimizer=o)
    trained = machine.train([job(7, (30, 4), epochs=2), one])[1]
    model = fresh_peft(reference(family, torch.float32), one.lora)
    losses = train_by_trainer(model, one, *initial(machine, one), tmp_path)
    assert trained.losses == pytest.approx(losses, rel=1e-3)
    assert distance(*updates(machine, trained, model)) <= 1e-3


def test_the_same_call_gives_the_same_bits() -> None:  # promise 5
    machine = engine("llama", torch.float32)
    once, again = (machine.train(MIXED) for _ in range(2))
    assert [r.losses for r in once] == [r.losses for r in again]
    assert all(torch.equal(flat(machine, a), flat(machine, b)) for a, b in zip(once, again, strict=True))


def test_weights_of_any_size() -> None:
    """Weights are relative: scaled by a constant they train the same; a token of weight zero is not learned."""
    machine, rng = engine(), random.Random(0)
    one = datum(rng, 12, prompt=4)
    scaled = type(one)(one.tokens, tuple(5 * w for w in one.weights))
    a, b = (flat(machine, r) for r in machine.train([TrainJob((one,)), TrainJob((scaled,))]))
    assert distance(a, b) <= 1e-9


def test_workers_never_matter() -> None:  # promise 3
    machine = engine("llama")
    jobs = [job(seed, (9, 14, 5)[: 1 + seed % 3], epochs=1 + seed % 2) for seed in range(5)]
    alone, beside = (train(machine.base, jobs, slots=4, budget_tokens=64, workers=workers) for workers in (1, 3))
    for one, other in zip(alone, beside, strict=True):
        assert one.weights and other.weights and one.losses == pytest.approx(other.losses, rel=1e-9)
        for a, b in zip([*one.weights.down, *one.weights.up], [*other.weights.down, *other.weights.up], strict=True):
            assert a is not None and b is not None
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("slots", "workers"), [(1, 3), (2, 3), (5, 2), (16, 64)])
def test_slots_are_those_of_all_workers(slots: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    held: list[int] = []
    begin = Arena.__init__

    def watched(self: Arena, base: Base, slots: int, shapes: Any) -> None:
        held.append(slots)
        begin(self, base, slots, shapes)

    monkeypatch.setattr(Arena, "__init__", watched)
    outcomes = train(engine("llama").base, [job(seed, (5,)) for seed in range(64)], slots, 64, workers)
    assert 0 < sum(held) <= slots and all(outcome.weights for outcome in outcomes)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_is_noticed_at_once(failing: int) -> None:  # promise 7
    reports = [0, 0, 0]

    def run(share: list[int], report: Callable[[int], None]) -> list[int]:
        for done in range(1000):
            if share == [failing] and min(n for i, n in enumerate(reports) if i != failing):
                raise OSError("no room")
            time.sleep(0.005)
            reports[share[0]] += 1
            report(done)
        return share

    with pytest.raises(OSError, match="no room"):
        run_shares(run, [[0], [1], [2]], 3000, None)
    assert max(reports) < 500


def test_a_worker_that_fails_stops_the_others() -> None:  # promise 7
    def broken(done: int, total: int) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        train(engine("llama").base, [job(0), job(1)], slots=2, budget_tokens=64, workers=2, progress=broken)
