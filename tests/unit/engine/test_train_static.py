"""Training passes with shapes that stay the same (`engine.graphs`).

1. Weights, losses, tokens and failures are those of the plain way (fp64): mixed jobs, in passes of any size, on a CPU, in lanes and as on a GPU,
   beside losses that take the plain way, with grouped products, with flash attention.
2. A pass can be recorded and repeated as a CUDA graph is, forward and backward: nothing in it waits, and repeated on the tensors that it was recorded
   with, it adds the same gradients.
3. What fills a pass up changes nothing, however much it is.
4. What the device does not record is left to the plain way with one line, and what was added of a step so far stays; where the setting is `on`, that
   is an error; so is a recording that adds other gradients. Sampling keeps its own graphs. Half of the free memory is left to graphs.
5. Passes that are large, or would be mostly padding, take the plain way.
6. Slots with other rates take one call of AdamW together: that of each alone.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from weakref import ReferenceType, ref

import pytest
import torch
from tests.unit.engine.recording import Graph
from tests.unit.engine.test_losses import REWARDED
from tests.unit.engine.test_varlen import definition
from tests.unit.engine.tiny_engine import distance, engine, flat, job

from selfedit.engine.torch import arena, hardware, train_static, training_pass, varlen
from selfedit.engine.torch.budget import pass_tokens
from selfedit.engine.torch.engine import Torch
from selfedit.errors import EngineError
from selfedit.models import Family
from selfedit.types import LoraShape, Optimizer, Trained, TrainJob

CALM = Optimizer(eps=1e-4, clip=0.0)
JOBS = [
    job(0, (12, 30, 5), optimizer=CALM),
    job(1, (40, 2, 9, 17), LoraShape(1, 4.0), epochs=2, batch_size=2, optimizer=CALM),
    job(2, (90, 7), LoraShape(8, 8.0, ("q_proj", "v_proj")), optimizer=Optimizer(eps=1e-4, clip=0.0, schedule="constant", weight_decay=0.1)),
    job(3, (7,) * 5, batch_size=3, epochs=3, optimizer=CALM),
    job(4, (9, 9), optimizer=Optimizer(eps=1e-4, clip=0.01, schedule="cosine")),
    job(5, (20, 20, 20), optimizer=Optimizer(lr=1e12, clip=0.0)),
    job(6, (3, 3, 3), optimizer=Optimizer(lr=1e12, clip=0.0)),  # the smallest: what fills passes up is its
]
ALIKE = [job(k, (20, 13, 9, 24, 17), epochs=2, optimizer=CALM) for k in range(3)]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many passes there were of each kind."""
    found: Counter[str] = Counter()
    for name in ("_pass", "_repeated"):
        real = getattr(training_pass, name)
        monkeypatch.setattr(training_pass, name, lambda *args, real=real, name=name: found.update([name]) or real(*args))
    return found


@pytest.fixture
def as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "on_gpu", lambda device: True)
    monkeypatch.setattr(hardware, "free_bytes", lambda device: 8 * 10**9)


@pytest.fixture
def as_graphs(as_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device says that it repeats what was recorded."""
    real = train_static.StaticPass.run

    def run(self: Any, arena: Any, whole: Any) -> Any:
        Graph.kept = (arena.gradient, self.sums)
        return real(self, arena, whole)

    monkeypatch.setattr(train_static.StaticPass, "run", run)
    monkeypatch.setattr(hardware, "has_graphs", lambda device: True)
    monkeypatch.setattr(hardware, "recorded", Graph)
    Graph.made = Graph.repeated = 0


def same(machines: Sequence[Torch], work: Sequence[TrainJob], rel: float = 1e-9) -> list[Trained]:
    theirs, mine = (machine.train(work) for machine in machines)
    for a, b, one in zip(theirs, mine, work, strict=True):
        assert (a.failure or "")[:30] == (b.failure or "")[:30] and len(a.losses) == len(b.losses)
        if a.adapter:
            near = rel if one.optimizer.clip == 0 else max(rel, 1e-6)  # fused AdamW clips in fp32
            assert b.losses == pytest.approx(a.losses, rel=near) and b.tokens == a.tokens
            assert all(values == pytest.approx(a.metrics[name], rel=near, abs=1e-12) for name, values in b.metrics.items())
            assert distance(flat(machines[1], b), flat(machines[0], a)) <= near
    return mine


@pytest.mark.parametrize(("family", "gpu"), [("llama", False), ("qwen3", True), ("gemma3", True)])
def test_the_same_training(family: Family, gpu: bool, passes: Counter[str], request: pytest.FixtureRequest) -> None:  # promise 1
    if gpu:
        request.getfixturevalue("as_gpu")
    for budget in (1024, 64):
        same([engine(family, graphs=way, budget_tokens=budget, slots=4) for way in ("off", "on")], JOBS)
    assert passes["_repeated"] == passes["_pass"] > 10


def test_other_losses_beside(as_gpu: None, passes: Counter[str]) -> None:  # promise 1
    same([engine(graphs=way, budget_tokens=60) for way in ("off", "on")], [*REWARDED[:2], *JOBS[:3]])
    assert passes["_repeated"] and passes["_pass"] > passes["_repeated"]


def test_in_lanes(passes: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    from selfedit.engine.torch import lanes
    from selfedit.engine.torch.train import train

    monkeypatch.setattr(lanes, "ROWS", 1)
    machine = engine(graphs="on")
    one = job(0, (9, 14, 5, 30, 22, 7, 11), batch_size=5, epochs=2, optimizer=CALM)
    [outcome] = train(machine.base, [one], 4, 64, workers=2)
    assert outcome.weights and passes["_repeated"] > 4 and not passes["_pass"]
    plain = engine(graphs="off")
    [theirs] = plain.train([one])
    assert distance(flat(machine, machine._add(outcome.weights)), flat(plain, theirs)) <= 1e-9


def test_grouped_products(as_gpu: None, passes: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    monkeypatch.setattr(hardware, "has_grouped_mm", lambda like: True)
    plain, static = (engine(dtype=torch.bfloat16, graphs=way) for way in ("off", "on"))
    static.base.odd = True  # as if there were layers of other widths: their block is made too
    for mine, theirs in zip(static.train(JOBS[:5]), plain.train(JOBS[:5]), strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=0.02)
    assert passes["_repeated"] and passes["_repeated"] == passes["_pass"]


def test_flash_attention(as_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    seen: set[tuple[int, int]] = set()

    def attend(q: Any, k: Any, v: Any, ends_q: Any, ends_k: Any, max_q: int, max_k: int, **options: Any) -> Any:
        longest = int((ends_q[1:] - ends_q[:-1]).max())
        seen.add((len(ends_q), max_q))
        assert longest <= max_q and ends_k[-1] == len(k) and (ends_q[1:] > ends_q[:-1]).all()
        return definition(q, k, v, ends_q, ends_k, longest, int((ends_k[1:] - ends_k[:-1]).max()), **options)

    monkeypatch.setattr(varlen, "_varlen_attn", lambda: (attend, {"enable_gqa": True}))
    machines = [engine("gemma3", graphs=way, varlen="on") for way in ("off", "on")]
    seen.clear()
    same(machines, JOBS[:4])
    assert {(9, 128), (17, 64)} & seen


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_repeated_as_recorded(family: Family, as_graphs: None, passes: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    arenas, real = list[ReferenceType[Any]](), arena.Arena.__init__
    monkeypatch.setattr(arena.Arena, "__init__", lambda self, *args, **options: arenas.append(ref(self)) or real(self, *args, **options))
    gc.disable()  # no cycle may hold them
    same([engine(family, graphs=way, slots=4) for way in ("off", "auto")], [*ALIKE, *JOBS])
    gc.enable()
    assert Graph.made and Graph.repeated >= 2 * Graph.made and passes["_repeated"] > Graph.repeated
    assert [made() for made in arenas] == [None, None]  # their memory is free at once


def test_memory_for_graphs(as_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    found = []
    for way, free in (("off", 1), ("on", 1), ("on", 2)):
        monkeypatch.setattr(hardware, "free_bytes", lambda device, free=free: free * 4 * 10**8)
        found.append(pass_tokens(arena.Arena(engine(graphs=way).base, 2, [LoraShape(8, 8.0)]), 100))
    assert found[0] == found[2] > found[1] > 1


def test_padding_changes_nothing(as_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    machine = engine(graphs="on")
    before = machine.train(ALIKE)
    real, sizes = train_static.rounded, list[int]()
    monkeypatch.setattr(train_static, "rounded", lambda n, least: sizes.append(n) or 3 * real(n, 2 * least))
    for mine, theirs in zip(machine.train(ALIKE), before, strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=1e-12) and distance(flat(machine, mine), flat(machine, theirs)) <= 1e-12
    assert sizes


def refuse(after: int) -> Callable[..., Any]:
    """Records `after` times, and then no more."""

    def record(step: Callable[[], None], device: Any, memory: Any = None) -> Callable[[], None]:
        if Graph.made >= after:
            raise RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing")
        return Graph(step)

    return record


def test_what_the_device_does_not_record(as_graphs: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 4
    monkeypatch.setattr(hardware, "recorded", refuse(1))
    plain, static = (engine(graphs=way, budget_tokens=40) for way in ("off", "auto"))
    work = [job(k, (20, 13, 9, 24, 17, 30), epochs=2, batch_size=3, optimizer=CALM) for k in range(3)]
    same([plain, static], work)
    assert capsys.readouterr().err == "selfedit: engine.graphs in training is off from here on: CUDA error: operation not permitted\n"
    assert Graph.repeated and not static.base.training_graphs.active and static.base.graphs.active
    same([plain, static], work)
    monkeypatch.setattr(hardware, "recorded", refuse(0))
    with pytest.raises(EngineError, match=r"engine.graphs in training is on, but CUDA error: operation not permitted; use auto or off"):
        engine(graphs="on").train(work)


def test_a_recording_that_does_something_else(
    as_graphs: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # promise 4
    monkeypatch.setattr(hardware, "recorded", lambda step, device, memory=None: lambda: None)
    plain, static = (engine(graphs=way, slots=4) for way in ("off", "auto"))
    same([plain, static], [*ALIKE, *JOBS])
    said = "gradients of a recorded pass are 1 of their norm away from those of the pass itself"
    assert capsys.readouterr().err == f"selfedit: engine.graphs in training is off from here on: {said}\n"


def test_no_memory_for_a_graph(as_graphs: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 4
    def none(step: Callable[[], None], device: Any, memory: Any = None) -> Callable[[], None]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(hardware, "recorded", none)
    same([engine(graphs=way) for way in ("off", "auto")], ALIKE)
    assert capsys.readouterr().err == "selfedit: engine.graphs in training is off from here on: CUDA out of memory\n"


def test_what_takes_the_plain_way(passes: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 5
    monkeypatch.setattr(train_static, "MOST_TOKENS", 256)
    machine = engine(graphs="on", budget_tokens=4096)
    for lengths, batch_size, name in [((20,) * 12, 12, "_repeated"), ((60,) * 12, 12, "_pass")]:
        machine.train([job(0, lengths, batch_size=batch_size)])
        assert set(passes) == {name}
        passes.clear()
    monkeypatch.setattr(train_static, "MOST_TOKENS", 512)
    machine.train([job(0, (250,)), *(job(k, (5,)) for k in range(1, 12))])  # 12 adapters of up to 256 rows are more than 4 times 512
    assert set(passes) == {"_pass"}
    passes.clear()
    monkeypatch.setattr(training_pass, "SIZES", 1)
    machine.train([job(0, (20, 200, 20))])
    assert passes["_repeated"] and passes["_pass"]


def test_one_launch_of_adamw(as_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    calls, real = list[int](), arena._adamw
    monkeypatch.setattr(arena, "_adamw", lambda slots, *rest: calls.append(len(slots)) or real(slots, *rest))
    work = [job(k, (12, 7, 20) * (k + 1), optimizer=Optimizer(lr=10.0**-k, eps=1e-4, clip=k - 1.0 if k else 0.0, warmup_steps=k)) for k in range(3)]
    machine = engine()
    together = machine.train(work)
    assert calls == [3] * 3 + [2] * 3 + [1] * 3
    for one, mine in zip(work, together, strict=True):
        [alone] = machine.train([one])
        assert mine.losses == pytest.approx(alone.losses, rel=1e-9) and distance(flat(machine, mine), flat(machine, alone)) <= 1e-9
