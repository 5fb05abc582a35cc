"""What a GPU asks for, and where there is one: the same promises on it.

0. A call waits for the device (reads a number from it) as often however many layers the model has. Counted on any machine.
1. Alone equals together, in fp64 to 1e-9, whatever the packing; a job that diverges fails alone.
2. What the GPU trains, samples and scores is what the CPU does (fp64), to 1e-6: the norms and the rotary embedding of transformers round to fp32
   even in fp64, and the two devices add up in another order.
3. bf16, whose grouped products take another path: the same losses as fp32 within 5 %, alone and together.
4. Tokens written as CUDA graphs and weights trained so are the plain way's (fp64), losses within 5 % (bf16). So are losses with flash attention those
   without it.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engine.tiny_engine import FAMILIES, Family, distance, engine, flat, folder, job, loud, prose
from torch.utils._python_dispatch import TorchDispatchMode

from selfedit.engine.settings import TorchSettings
from selfedit.engine.torch import hardware
from selfedit.engine.torch.engine import Torch
from selfedit.models import load, tiny
from selfedit.types import LoraShape, Optimizer, SampleRequest, Sampling, ScoreRequest

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CALM = Optimizer(eps=1e-4)
JOBS = [
    job(0, (12, 30, 5), optimizer=CALM),
    job(1, (40, 2, 9, 17), LoraShape(1, 4.0), epochs=2, batch_size=2, optimizer=CALM),
    job(2, (200, 7), LoraShape(8, 8.0, ("q_proj", "v_proj")), optimizer=Optimizer(eps=1e-4, schedule="cosine", clip=0.0)),
    job(3, (7,) * 5, batch_size=3, epochs=3, optimizer=CALM),
]
BEGINNING = prose(random.Random(0), 20)
PROMPTS = [prose(random.Random(n), n) for n in (1, 30, 7)] + [BEGINNING + prose(random.Random(n), n) for n in (2, 9)]


class Waits(TorchDispatchMode):
    """Counts what a device would be waited for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default)
        return func(*args, **(kwargs or {}))


def waits(layers: int, work: str, where: Path) -> int:
    model, tokenizer = load(tiny("llama", where, hidden=32, layers=layers), torch.float64)
    machine = Torch(model, tokenizer, TorchSettings())
    adapter = loud(machine)
    with Waits() as seen:
        if work == "train":
            machine.train([job(i, (9 + i,) * 3, optimizer=Optimizer(clip=0.0)) for i in range(4)])  # any order, and no clipped step, which waits once
        elif work == "sample":
            machine.ends = frozenset()
            machine.sample([SampleRequest(p, Sampling(max_tokens=9), adapter) for p in PROMPTS])
        else:
            machine.score([ScoreRequest(p, PROMPTS[1], adapter) for p in PROMPTS])
    return seen.count


@pytest.mark.parametrize("work", ["train", "sample", "score"])
def test_no_layer_waits(work: str, tmp_path: Path) -> None:  # promise 0
    assert waits(2, work, tmp_path / "2") == waits(5, work, tmp_path / "5")


def on_gpu(family: Family, dtype: torch.dtype = torch.float64, **settings: Any) -> Torch:
    model, tokenizer = load(folder(family), dtype, "cuda")
    return Torch(model, tokenizer, TorchSettings(**settings), name=family)


@gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_alone_equals_together(family: Family) -> None:  # promise 1
    machine = on_gpu(family)
    alone = [machine.train([one])[0] for one in JOBS]
    for budget in (64, 8192):
        machine.budget_tokens = budget
        *found, failed = machine.train([*JOBS, job(9, (20, 20, 20), optimizer=Optimizer(lr=1e12, clip=0.0))])
        assert family == "gemma3" or (failed.failure or "").startswith("diverged")
        for mine, theirs in zip(found, alone, strict=True):
            assert mine.losses == pytest.approx(theirs.losses, rel=1e-9)
            assert distance(flat(machine, mine), flat(machine, theirs)) <= 1e-9


@gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_gpu_is_cpu(family: Family) -> None:  # promise 2
    machines = on_gpu(family), engine(family)
    trained = [machine.train(JOBS) for machine in machines]
    for mine, theirs in zip(*trained, strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=1e-6)
        assert distance(flat(machines[0], mine), flat(machines[1], theirs)) <= 1e-6
    said, scores = [], []
    for machine in machines:
        adapters = (None, loud(machine, 1), loud(machine, 2, LoraShape(2, 32.0, ("q_proj",))))
        greedy, drawn = Sampling(max_tokens=12), Sampling(max_tokens=12, temperature=1.0, top_p=0.9, top_k=50, repetition_penalty=1.1, seed=3)
        requests = [SampleRequest(p, s, a) for p in PROMPTS for s in (greedy, drawn) for a in adapters]
        said.append([c.tokens for c in machine.sample(requests)])
        scores.append([x for s in machine.score([ScoreRequest(p, PROMPTS[1], a) for p in PROMPTS for a in adapters]) for x in s.logprobs])
    assert said[0] == said[1] and scores[0] == pytest.approx(scores[1], abs=1e-6)


@gpu
def test_bf16() -> None:  # promise 3
    exact, fast = on_gpu("llama", torch.float32), on_gpu("llama", torch.bfloat16)
    together = fast.train(JOBS)
    for one, mine, right in zip(JOBS, together, exact.train(JOBS), strict=True):
        assert mine.losses == pytest.approx(right.losses, rel=0.05) and fast.train([one])[0].losses == pytest.approx(right.losses, rel=0.05)


@gpu
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_graphs(family: Family) -> None:  # promise 4
    said = []
    for way in ("off", "on"):
        machine = on_gpu(family, graphs=way, cache_tokens=1024)
        adapters = (None, loud(machine, 1))
        greedy, drawn = Sampling(max_tokens=70), Sampling(max_tokens=40, temperature=1.0, top_p=0.9, repetition_penalty=1.1, seed=3)
        said.append([c.tokens for c in machine.sample([SampleRequest(p, s, a) for p in PROMPTS for s in (greedy, drawn) for a in adapters])])
    assert said[0] == said[1]


@gpu
@pytest.mark.parametrize(
    ("family", "dtype"), [("llama", torch.float64), ("gemma3", torch.float64), ("llama", torch.bfloat16), ("qwen3", torch.bfloat16)]
)
def test_training_graphs(family: Family, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    made, real = list[int](), hardware.recorded
    monkeypatch.setattr(hardware, "recorded", lambda *args: made.append(1) or real(*args))
    plain, static = (on_gpu(family, dtype, graphs=way) for way in ("off", "on"))
    work = [*JOBS, *(job(k, (20, 13, 9, 24, 17), epochs=4, optimizer=CALM) for k in range(4, 7))]
    for mine, theirs in zip(static.train(work), plain.train(work), strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=1e-9 if dtype == torch.float64 else 0.05)
        assert dtype != torch.float64 or distance(flat(static, mine), flat(plain, theirs)) <= 1e-9
    assert made


@gpu
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_flash(family: Family) -> None:  # promise 4
    plain, fast = (on_gpu(family, torch.bfloat16, varlen=way) for way in ("off", "on"))
    for mine, theirs in zip(fast.train(JOBS), plain.train(JOBS), strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=0.05)
    requests = [ScoreRequest(p, PROMPTS[1]) for p in PROMPTS]  # two share a beginning, which is read once
    scores = [[x for s in machine.score(requests) for x in s.logprobs] for machine in (fast, plain)]
    assert scores[0] == pytest.approx(scores[1], abs=0.1)
