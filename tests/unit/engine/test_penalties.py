"""Penalties on the weights of an adapter, the Fisher information that one of them needs, and training that goes on from a given adapter.

1. Value and gradient of each penalty are autograd's of its definition (fp64, 1e-9): earlier adapters of other ranks and layers, a slot wider than the
   job's adapter.
2. A job with a start and both penalties is the textbook loop with PEFT, the definitions written out, clipping and AdamW; alone = together with jobs
   without penalties, for any passes and slots; as a GPU would do it; the slow way; two workers (fp64).
3. The Fisher information is the mean of autograd's squared gradients of each sequence's log-likelihood; what came before is added; slots, passes and
   workers change nothing.
4. A strength of 0 leaves every bit. Training goes on: the first loss is what the start adapter scores.
5. EWC holds the weights that matter; O-LoRA takes away what A has in common with earlier ones.
6. What cannot be done is refused in one line before anything is trained; a Fisher information that is not finite fails its job alone.
7. The fake and the split engine take the same jobs. What depends on other adapters is not kept on a shelf, and other jobs keep their place there.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engine.by_peft import fresh_peft, train_peft, updates
from tests.unit.engine.test_architectures import slow_llama
from tests.unit.engine.tiny_engine import LOUD, RANK_4, datum, distance, engine, flat, job, loud, reference
from torch import Tensor

from selfedit.engine.fake import Fake
from selfedit.engine.split import SplitEngine
from selfedit.engine.torch import hardware
from selfedit.engine.torch.arena import Arena, Slot
from selfedit.engine.torch.engine import Torch
from selfedit.engine.torch.penalties import terms
from selfedit.errors import ConfigError, EngineError
from selfedit.policy.shelf import Shelf
from selfedit.types import EWC, Adapter, Datum, Fisher, LoraShape, OLoRA, Optimizer, ScoreRequest, TrainJob

DATA = tuple(datum(random.Random(9), n, prompt=n // 3) for n in (14, 3, 30, 8, 21))
NARROW = LoraShape(2, 16.0, ("q_proj", "down_proj"))


def held(machine: Torch, strength: float = 0.3, **options: Any) -> TrainJob:
    """A job that goes on from an adapter and is held to it, and away from two others."""
    start = loud(machine, 0)
    fisher = machine.fisher(start, DATA)
    penalties = EWC(strength, start, fisher), OLoRA(strength, (loud(machine, 1, LoraShape(3, 6.0)), loud(machine, 2, NARROW)))
    return job(5, lora=LOUD, start=start, penalties=penalties, **options)


def defined(machine: Torch, one: TrainJob, down: list[Tensor | None], up: list[Tensor | None]) -> Tensor:
    """The penalties of a job as they are written in the papers."""
    total = torch.zeros((), dtype=torch.float64)
    weights = machine._adapters
    for penalty in one.penalties:
        if isinstance(penalty, EWC):
            centre, fisher = weights[penalty.around.id], weights[penalty.fisher.id]
            for z, c, f in zip((*down, *up), (*centre.down, *centre.up), (*fisher.down, *fisher.up), strict=True):
                if z is not None and c is not None and f is not None:
                    total = total + penalty.strength / 2 * (f * (z - c) ** 2).sum()
            continue
        for earlier in penalty.earlier:
            for z, a in zip(down, weights[earlier.id].down, strict=True):
                if z is not None and a is not None:
                    total = total + penalty.strength * torch.einsum("ji,ki->jk", a, z).pow(2).sum()
    return total


def test_is_autograds() -> None:  # promise 1
    machine = engine()
    one = held(machine)
    arena = Arena(machine.base, 1, [one.lora, LoraShape(7, 7.0)])
    slot = Slot(arena, 0)
    away = machine._adapters[loud(machine, 3).id]
    slot.begin(one.lora, one.optimizer, torch.Generator(), away.placed(arena.layout, arena.master))
    down, up = ([None if z is None else z.clone().requires_grad_() for z in side] for side in (away.down, away.up))
    for some in (one.penalties[:1], one.penalties[1:], one.penalties, (OLoRA(1.0, ()),)):
        slot.gradient.normal_(generator=torch.Generator().manual_seed(1))
        before = slot.gradient.clone()
        value = sum((add(slot.master, slot.gradient) for add in terms(replace(one, penalties=some), arena, machine._adapters)), torch.zeros(()))
        expected = defined(machine, replace(one, penalties=some), down, up)
        torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=0)
        wanted = torch.zeros_like(before)
        if expected.requires_grad:
            gradients = iter(torch.autograd.grad(expected, [z for z in (*down, *up) if z is not None], allow_unused=True, materialize_grads=True))
            views = arena.layout.views(wanted[None])
            for own, side in zip((down, up), views, strict=True):
                for z, into in zip(own, side, strict=True):
                    if z is not None and into is not None:
                        into[0, : len(z)] = next(gradients)
        torch.testing.assert_close(slot.gradient - before, wanted, rtol=1e-9, atol=1e-12)


def by_peft(machine: Torch, one: TrainJob) -> tuple[Any, list[float]]:
    """A job with a start and penalties, in PEFT's textbook loop."""
    assert one.start
    start = machine._adapters[one.start.id]
    model = fresh_peft(reference(), one.lora)
    layers = {site.name: model.get_submodule(f"base_model.model.{site.name}") for site in machine.base.sites}
    named = zip(machine.base.sites, start.down, start.up, strict=True)
    down = {site.name: a for site, a, _ in named if a is not None}
    for site, up in zip(machine.base.sites, start.up, strict=True):
        if up is not None:
            layers[site.name].lora_B["default"].weight.data.copy_(up.T)

    def penalty() -> Tensor:
        mine = [layers[site.name] for site in machine.base.sites]
        return defined(machine, one, [m.lora_A["default"].weight for m in mine], [m.lora_B["default"].weight.T for m in mine])

    return model, train_peft(model, one, down, torch.Generator().manual_seed(one.seed), penalty)


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_is_pefts(clip: float) -> None:  # promise 2
    machine = engine()
    one = held(machine, epochs=2, batch_size=2, optimizer=Optimizer(lr=3e-3, weight_decay=0.05, clip=clip))
    [found] = machine.train([one])
    model, losses = by_peft(machine, one)
    assert found.losses == pytest.approx(losses, rel=1e-6 if clip else 1e-9)
    assert distance(*updates(machine, found, model)) <= (1e-6 if clip else 1e-9)
    assert len(found.metrics["penalty"]) == len(found.losses) and found.metrics["penalty"][0] > 0


def test_alone_equals_together(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    calm = Optimizer(eps=1e-4, clip=0.0)
    machine = engine()
    one = held(machine, epochs=2, batch_size=2, optimizer=calm)
    others = [job(6, lora=LoraShape(7, 7.0), optimizer=calm), job(7, (9, 9), epochs=3, optimizer=calm)]
    [alone], plain = machine.train([one]), [flat(machine, one) for one in machine.train(others)]

    def same() -> None:
        first, found, last = machine.train([others[0], one, others[1]])
        assert distance(flat(machine, found), flat(machine, alone)) <= 1e-9 and found.losses == pytest.approx(alone.losses, rel=1e-9)
        assert found.metrics["penalty"] == pytest.approx(alone.metrics["penalty"], rel=1e-9) and found.tokens == alone.tokens
        assert all(distance(flat(machine, theirs), before) <= 1e-9 for theirs, before in zip((first, last), plain, strict=True))
        assert not first.metrics

    for slots, budget, workers in ((16, 4096, 1), (2, 20, 1), (8, 200, 2)):
        machine.settings = machine.settings.model_copy(update={"slots": slots})
        machine.budget_tokens = budget
        monkeypatch.setattr(torch, "get_num_threads", lambda workers=workers: workers)
        same()
    monkeypatch.setattr(hardware, "on_gpu", lambda device: True)
    monkeypatch.setattr(hardware, "free_bytes", lambda device: 8 * 10**9)
    machine.on_gpu = True
    same()


def test_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:  # promises 2 and 3
    found = []
    for machine in (engine(), slow_llama(monkeypatch)):
        one = held(machine, optimizer=Optimizer(clip=0.0))
        [trained] = machine.train([one])
        penalty = one.penalties[0]
        assert isinstance(penalty, EWC)
        found.append((flat(machine, trained), flat(machine, penalty.fisher)))
    assert all(distance(mine, theirs) <= 1e-9 for mine, theirs in zip(*found, strict=True))


# ---------------------------------------------------------------- the Fisher information


def test_fisher_is_autograds(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    machine = engine()
    adapter = loud(machine)
    weighted = replace(DATA[2], weights=tuple(w * 0.5 for w in DATA[2].weights))
    data = (*DATA[:2], weighted, *DATA[3:], Datum((7, 8), (0.0, 0.0)))
    model = fresh_peft(reference(), LOUD)
    w = machine._adapters[adapter.id]
    sides = []
    for site, down, up in zip(machine.base.sites, w.down, w.up, strict=True):
        layer = model.get_submodule(f"base_model.model.{site.name}")
        assert down is not None and up is not None
        layer.lora_A["default"].weight.data.copy_(down)
        layer.lora_B["default"].weight.data.copy_(up.T)
        sides.append((layer.lora_A["default"].weight, layer.lora_B["default"].weight))
    learned = [*(a for a, _ in sides), *(b for _, b in sides)]
    expected = torch.zeros(sum(p.numel() for p in learned), dtype=torch.float64)
    for d in data:
        tokens = torch.tensor(d.tokens)
        logp = model(tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        weights, mass = torch.tensor(d.weights[1:]), sum(d.weights[1:]) or 1.0  # as in training the loss is a mean: norms round gradients to fp32
        gradients = torch.autograd.grad((logp * weights / mass).sum(), learned)
        expected += torch.cat([(g if i < len(sides) else g.T).flatten() * mass for i, g in enumerate(gradients)]) ** 2 / len(data)
    for slots, budget, workers in ((16, 4096, 1), (2, 20, 1), (4, 60, 3), (1, 1, 1)):
        machine.settings = machine.settings.model_copy(update={"slots": slots})
        machine.budget_tokens = budget
        monkeypatch.setattr(torch, "get_num_threads", lambda workers=workers: workers)
        assert distance(flat(machine, machine.fisher(adapter, data))[1:], expected) <= 1e-9
    torch.set_num_threads(1)  # several workers leave it at what they found
    first = machine.fisher(adapter, data[:2])
    both = machine.fisher(adapter, data[2:3], first)
    assert distance(flat(machine, both)[1:], (flat(machine, first) + flat(machine, machine.fisher(adapter, data[2:3])))[1:]) <= 1e-9
    assert isinstance(first, Fisher) and flat(machine, first)[1:].max() > 0
    machine.drop(first)
    with pytest.raises(EngineError, match="not in the engine"):
        machine.fisher(adapter, data, first)


# ---------------------------------------------------------------- what they do


def test_nothing_else_changes() -> None:  # promise 4
    machine = engine()
    one = held(machine, 0.0, epochs=2)
    with_none, plain = machine.train([one])[0], machine.train([replace(one, penalties=())])[0]
    assert torch.equal(flat(machine, with_none), flat(machine, plain)) and with_none.losses == plain.losses
    assert set(with_none.metrics["penalty"]) == {0.0} and not plain.metrics
    single = job(5, (30,), lora=LOUD, start=one.start)
    prompt = single.data[0].weights.index(1.0)
    tokens = single.data[0].tokens
    [score] = machine.score([ScoreRequest(tokens[:prompt], tokens[prompt:], one.start)])
    assert machine.train([single])[0].losses[0] == pytest.approx(-score.mean)


def test_they_hold() -> None:  # promise 5
    machine = engine()
    start = loud(machine)
    data, free = DATA, Optimizer(lr=3e-3, clip=0.0, schedule="constant")
    fisher = machine.fisher(start, data)
    one = job(5, lora=LOUD, start=start, epochs=4, optimizer=free)
    important = flat(machine, fisher)[1:]

    def moved(strength: float) -> float:
        [trained] = machine.train([replace(one, penalties=(EWC(strength, start, fisher),))])
        return float((important * (flat(machine, trained) - flat(machine, start))[1:] ** 2).sum())

    assert moved(10.0) < 0.1 * moved(0.1) < moved(0.0)

    earlier = tuple(loud(machine, seed) for seed in (1, 2))

    def common(strength: float) -> float:
        [trained] = machine.train([job(5, lora=LOUD, epochs=6, optimizer=free, penalties=(OLoRA(strength, earlier),))])
        w = machine._adapters[trained.adapter.id]  # type: ignore[union-attr]
        return float(defined(machine, replace(one, penalties=(OLoRA(1.0, earlier),)), w.down, w.up))

    assert common(1.0) < 0.1 * common(0.0)


# ---------------------------------------------------------------- what cannot be done, and other engines


def test_refused_early() -> None:  # promise 6
    machine = engine()
    start, other = loud(machine), loud(machine, 1, LoraShape(3, 6.0))
    fisher, one = machine.fisher(start, DATA), job(5, lora=LOUD)
    machine.drop(gone := loud(machine, 2))

    def refused(match: str, error: type[Exception] = EngineError, **changes: Any) -> None:
        with pytest.raises(error, match=match):
            machine.train([job(0), replace(one, **changes)])

    refused("has rank 3 on 14 linear layers; .* not rank 4 on 14", start=other)
    refused("has rank 3 on 14", penalties=(EWC(1.0, other, fisher),))
    refused("has rank 4 on 14 linear layers; .* not rank 4 on 2", lora=replace(LOUD, targets=("q_proj",)), penalties=(EWC(1.0, start, fisher),))
    refused("is scaled by 8; .* not 2", start=start, lora=RANK_4)
    refused("it was dropped", start=gone)
    refused("it was dropped", penalties=(OLoRA(1.0, (start, gone)),))
    for strength in (-1.0, float("nan"), float("inf")):
        refused("is finite and at least 0", ConfigError, penalties=(OLoRA(strength, (start,)),))
    with pytest.raises(EngineError, match="at least one sequence"):
        machine.fisher(start, ())
    with pytest.raises(EngineError, match="of an adapter of rank 4 on 14"):
        machine.fisher(other, DATA, fisher)
    before = machine.train([job(0)])[0]
    machine._adapters[fisher.id].flat[0].fill_(torch.nan)  # type: ignore[index]
    fine, spoilt = machine.train([job(0), replace(one, penalties=(EWC(1.0, start, fisher),))])
    assert spoilt.failure and "diverged at step 1" in spoilt.failure
    assert torch.equal(flat(machine, fine), flat(machine, before)) and fine.losses == before.losses


@pytest.mark.parametrize("make", [Fake, engine, lambda: SplitEngine(engine(), engine())])
def test_other_engines(make: Callable[[], Any], tmp_path: Path) -> None:  # promise 7
    machine, shelf = make(), Shelf(tmp_path)
    jobs = [job(seed) for seed in range(2)]
    first, second = (trained.adapter for trained in machine.train(jobs))
    fisher = machine.fisher(first, jobs[0].data)
    one = replace(jobs[0], start=first, penalties=(EWC(1.0, first, fisher), OLoRA(0.5, (second,))))
    [trained] = machine.train([one])
    assert isinstance(trained.adapter, Adapter) and len(trained.metrics["penalty"]) == len(trained.losses)
    shelf.put(machine, [jobs[1], one], [trained, trained])
    assert [path.name for path in tmp_path.iterdir()] == [hashlib.sha256(repr(jobs[1]).encode()).hexdigest()[:32]] and "start" not in repr(one)
    assert shelf.find(jobs[1]) and not shelf.find(one) and not shelf.find(replace(jobs[1], start=first))
    machine.drop(fisher)
    with pytest.raises(EngineError, match="it was dropped"):
        machine.train([one])
