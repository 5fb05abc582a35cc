"""How many operations the engine asks a device for, so that they do not creep back: each is a launch on a GPU, about 10 microseconds of nothing.

Counted on a CPU by a dispatch mode, in a tiny Llama of two and of four layers: what a layer takes, and what is left. Views and allocations are not
counted. The GPU's way is taken by a device that says it is one.

1. A training step, forward, backward and optimizer, stays below these counts; and of 16 adapters it takes few more than of one.
2. So does a written token, and a scoring call; which takes no more for more adapters.
3. Nothing waits for the device (a number read from it, a mask whose size decides) but what fetches results: once a step, a token and a call.
4. On a CPU the counts stay below theirs.
5. Of a training step whose pass is repeated (`engine.graphs`) nothing is asked for layer by layer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.unit.engine.recording import Graph
from tests.unit.engine.tiny_engine import datum, job, prose
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from selfedit.engine.settings import TorchSettings
from selfedit.engine.torch import hardware
from selfedit.engine.torch.engine import Torch
from selfedit.models import load, tiny
from selfedit.types import LoraShape, Optimizer, SampleRequest, Sampling, ScoreRequest, TrainJob

QV = LoraShape(8, 16.0, ("q_proj", "v_proj"))
VIEWS = {"detach", "_unsafe_view", "lift_fresh", "alias", "promote_types"}
WAITS = {"_local_scalar_dense", "nonzero", "equal", "masked_select"}


class Operations(TorchDispatchMode):
    """Counts operations by name: not those that only give a view or take memory."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if not view and name not in VIEWS and "empty" not in name:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


class OneLaunch(torch.autograd.Function):
    """PyTorch's RMSNorm, which on a GPU is one launch forward and one back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        x.clone()
        with _disable_current_modes():
            return F.rms_norm(x, weight.shape, weight, eps)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        dy.clone()
        with _disable_current_modes(), torch.enable_grad():
            z = x.detach().requires_grad_()
            (dx,) = torch.autograd.grad(F.rms_norm(z, weight.shape, weight, ctx.eps), z, dy)
        return dx, None, None


@pytest.fixture
def as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hopper card with 8 GB free."""
    from selfedit.engine.torch import fused

    class Functional:
        rms_norm = staticmethod(lambda x, shape, weight, eps: OneLaunch.apply(x, weight, eps))

    monkeypatch.setattr(hardware, "on_gpu", lambda device: True)
    monkeypatch.setattr(hardware, "has_grouped_mm", lambda like: True)
    monkeypatch.setattr(hardware, "free_bytes", lambda device: 8 * 10**9)
    monkeypatch.setattr(fused, "F", Functional)


@dataclass(frozen=True)
class Counted:
    """Operations of a layer and all others; those that wait, and how often a tensor was fetched from the device."""

    layer: float
    rest: float
    waits: float
    fetched: float


def counted(work: Callable[[Torch], Counter[str]], where: Path) -> Counted:
    """Of a tiny model of two layers and one of four, in bf16."""
    found = []
    for layers in (2, 4):
        model, tokenizer = load(tiny("llama", where / str(layers), hidden=32, layers=layers), torch.bfloat16)
        machine = Torch(model, tokenizer, TorchSettings(slots=16, budget_tokens=8192))
        machine.ends = frozenset()
        found.append(work(machine))
    fetched = {each.pop("fetched", 0) for each in found}
    few, many = (each.total() for each in found)
    layer, waits = (many - few) / 2, sum(found[1][name] for name in WAITS)
    return Counted(layer, few - 2 * layer, waits, max(fetched))


def seen(work: Callable[[], object]) -> Counter[str]:
    real = torch.Tensor.cpu
    download = hardware.download
    with pytest.MonkeyPatch.context() as patch, Operations() as operations:
        patch.setattr(torch.Tensor, "cpu", lambda z: operations.found.update(fetched=1) or real(z))
        patch.setattr(hardware, "download", lambda z: operations.found.update(fetched=1) or download(z))
        work()
    return operations.found


def difference(few: Counter[str], many: Counter[str], times: int) -> Counter[str]:
    """What one of `times` more takes."""
    found = Counter(many)
    found.subtract(few)
    return Counter({name: number / times for name, number in found.items()})  # type: ignore[arg-type]


def a_step(adapters: int, batch_size: int = 1, of: tuple[int, int] = (2, 4), lengths: int = 5) -> Callable[[Torch], Counter[str]]:
    """Of training so many adapters of rank 8 on q and v; as many sequences of other `lengths` a step, none of them the last."""

    def work(machine: Torch) -> Counter[str]:
        def train(steps: int) -> None:
            own_lengths = [[9 + 7 * ((k + i) % lengths) for i in range(steps * batch_size)] for k in range(adapters)]
            data = [tuple(datum(random.Random(1000 * k + i), n) for i, n in enumerate(own)) for k, own in enumerate(own_lengths)]
            trained = machine.train([TrainJob(own, QV, Optimizer(), 1, batch_size, k) for k, own in enumerate(data)])
            assert all(t.adapter for t in trained)

        return difference(seen(lambda: train(of[0])), seen(lambda: train(of[1])), of[1] - of[0])

    return work


def adapters_of(machine: Torch, count: int) -> list[Any]:
    return [t.adapter for t in machine.train([job(k, lora=QV) for k in range(count)])]


def a_token(adapters: int, each: int, **settings: Any) -> Callable[[Torch], Counter[str]]:
    """Of writing with so many adapters, `each` texts with each; none of them the last."""

    def work(machine: Torch) -> Counter[str]:
        own = adapters_of(machine, adapters)

        def write(tokens: int) -> None:
            machine.sample([SampleRequest(prose(random.Random(j), 30), Sampling(tokens, seed=j, **settings), a) for a in own for j in range(each)])

        return difference(seen(lambda: write(3)), seen(lambda: write(7)), 4)

    return work


def a_call(adapters: int, each: int) -> Callable[[Torch], Counter[str]]:
    """Of scoring."""

    def work(machine: Torch) -> Counter[str]:
        own = adapters_of(machine, adapters)
        return seen(
            lambda: machine.score([ScoreRequest(prose(random.Random(j), 30), prose(random.Random(j + 9), 5), a) for a in own for j in range(each)])
        )

    return work


def check(found: Counted, layer: float, rest: float, waits: float = 0, fetched: float = 1) -> None:
    assert found.layer <= layer and found.rest <= rest, f"{found} operations: more than before"
    assert found.waits <= waits and found.fetched == fetched, f"{found}: the device is waited for more often than before"


@pytest.mark.parametrize(("adapters", "batch_size", "layer", "rest"), [(1, 1, 86, 67), (16, 1, 105, 94), (8, 4, 105, 86)])
def test_a_training_step(adapters: int, batch_size: int, layer: float, rest: float, as_gpu: None, tmp_path: Path) -> None:  # promises 1 and 3
    check(counted(a_step(adapters, batch_size), tmp_path), layer, rest, waits=1)  # the plan of what is padded is made on the CPU, by `nonzero`


@pytest.mark.parametrize(("adapters", "batch_size", "rest"), [(1, 1, 32), (16, 1, 32)])
def test_a_repeated_step(
    adapters: int, batch_size: int, rest: float, as_gpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # promise 5
    monkeypatch.setattr(hardware, "has_graphs", lambda device: True)
    monkeypatch.setattr(hardware, "recorded", Graph)
    step = a_step(adapters, batch_size, (3, 6), 1)

    def proven(machine: Torch) -> Counter[str]:
        machine.base.recording_proven = True  # as it is from the first recording on
        return step(machine)

    check(counted(proven, tmp_path), 0, rest)


@pytest.mark.parametrize(
    ("settings", "rest"), [({}, 32), ({"temperature": 1.0, "top_p": 0.9}, 76), ({"temperature": 1.0, "repetition_penalty": 1.1}, 69)]
)
def test_a_written_token(settings: dict[str, float], rest: float, as_gpu: None, tmp_path: Path) -> None:  # promises 2 and 3
    check(counted(a_token(8, 3, **settings), tmp_path), 30, rest)


@pytest.mark.parametrize("adapters", [2, 16])
def test_a_scoring_call(adapters: int, as_gpu: None, tmp_path: Path) -> None:  # promises 2 and 3
    check(counted(a_call(adapters, 2), tmp_path), 76, 55)


@pytest.mark.parametrize(
    ("work", "layer", "rest"), [(a_step(1), 118, 76), (a_token(8, 3), 54, 45), (a_call(8, 2), 60, 42)], ids=["step", "token", "score"]
)
def test_on_a_cpu(work: Callable[[Torch], Counter[str]], layer: float, rest: float, tmp_path: Path) -> None:  # promise 4
    check(counted(work, tmp_path), layer, rest, waits=1)
