"""Jobs that fail, fail alone and say why.

1. A job that diverges gives a Trained without adapter, and the step, loss, gradient norm and learning rate in words. Its neighbours are the same
   to the bit as with a healthy job of the same lengths in its place, and after it the slot is as new. Once it has left, passes are smaller and
   matrix products round differently: within 1e-12 in fp64 of never having been there.
2. No token with weight: 'nothing to train on'; so does no data. A sequence of one token among others is harmless.
3. Sequences too long, empty or with the wrong number of weights are EngineErrors; epochs, batch sizes and ranks below one, and losses
   that the engine does not have, are ConfigErrors. Nothing is trained then.
4. An adapter whose weights are not finite after the last step, which no later step looks at, is not handed out: the job fails alone and says why.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from tests.unit.engine.tiny_engine import FAMILIES, Family, datum, distance, engine, flat, job

from selfedit.errors import ConfigError, EngineError
from selfedit.types import Datum, LoraShape, Optimizer, TrainJob

GOOD = [job(1, epochs=2), job(2, (9, 30, 14), lora=LoraShape(2, 4.0)), job(3, epochs=3, batch_size=2)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("slots", [1, 2, 16])
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gemma3"])  # it normalises what a layer adds: nothing overflows
def test_divergence_stays_at_home(family: Family, slots: int, dtype: torch.dtype) -> None:  # promise 1
    machine = engine(family, dtype, slots=slots)
    bad = job(4, (22, 31), optimizer=Optimizer(lr=1e12, clip=0.0))  # of two steps, so that it leaves when the healthy one does
    first, failed, *rest = machine.train([GOOD[0], bad, *GOOD[1:]])
    assert failed.adapter is None and failed.failure is not None and len(failed.losses) == 2 and math.isfinite(failed.losses[0])
    assert failed.failure.startswith("diverged at step 2 of 2: loss") and "learning rate (1000000000000.0)" in failed.failure
    expected = machine.train([GOOD[0], replace(bad, optimizer=Optimizer()), *GOOD[1:]])
    for mine, theirs in zip([first, *rest], [expected[0], *expected[2:]], strict=True):
        assert mine.losses == theirs.losses and torch.equal(flat(machine, mine), flat(machine, theirs))


@pytest.mark.parametrize("slots", [1, 2, 16])
def test_leaving_early_changes_only_the_rounding(slots: int) -> None:  # promise 1
    machine = engine("llama", slots=slots)
    bad = job(4, (40, 22, 31, 8), epochs=4, optimizer=Optimizer(lr=1e9))
    *found, failed = machine.train([*GOOD, bad])
    assert failed.adapter is None and len(failed.losses) < 16 and failed.tokens < 4 * 101
    for mine, theirs in zip(found, machine.train(GOOD), strict=True):
        assert distance(flat(machine, mine), flat(machine, theirs)) <= 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_last_step_is_looked_at(dtype: torch.dtype) -> None:  # promise 4
    machine = engine("llama", dtype)
    bad = job(4, (22,), optimizer=Optimizer(lr=1e39))
    first, failed, second = machine.train([GOOD[0], bad, GOOD[1]])
    assert failed.adapter is None and len(failed.losses) == 1 and math.isfinite(failed.losses[0])
    assert failed.failure == "diverged at the last of 1 steps: its weights are not finite; lower the learning rate (1e+39)"
    expected = machine.train([GOOD[0], replace(bad, optimizer=Optimizer()), GOOD[1]])
    for mine, theirs in zip((first, second), expected[::2], strict=True):
        assert mine.losses == theirs.losses and torch.equal(flat(machine, mine), flat(machine, theirs))


def test_nothing_to_train_on() -> None:  # promise 2
    machine, rng = engine(), random.Random(0)
    masked = Datum((5, 6, 7), (0.0, 0.0, 0.0))
    first_only = Datum((5, 6), (1.0, 0.0))
    single = Datum((5,), (1.0,))
    for data in ((masked,), (first_only, single), ()):
        [trained] = machine.train([TrainJob(data)])
        assert trained.adapter is None and trained.losses == () and "nothing to train on" in (trained.failure or "")
    whole = datum(rng, 9)
    [mixed] = machine.train([TrainJob((whole, single, masked), batch_size=3)])
    [alone] = machine.train([TrainJob((whole,), batch_size=3)])
    assert mixed.failure is None and mixed.losses == pytest.approx(alone.losses)
    [one_by_one] = machine.train([TrainJob((whole, single, masked))])
    assert one_by_one.failure is None and sorted(one_by_one.losses)[:2] == [0.0, 0.0]


def test_wrong_jobs() -> None:  # promise 3
    machine, fine = engine(), job(0)
    long = datum(random.Random(0), machine.context_tokens + 1)
    for data in (long, Datum((), ()), Datum((5, 6), (1.0,))):
        with pytest.raises(EngineError):
            machine.train([fine, TrainJob((data,))])
    for wrong in (replace(fine, epochs=0), replace(fine, batch_size=0), replace(fine, lora=LoraShape(0)), replace(fine, loss="pope")):
        with pytest.raises(ConfigError):
            machine.train([fine, wrong])
    assert not machine._adapters
