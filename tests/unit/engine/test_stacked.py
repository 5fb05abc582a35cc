"""Adapters stacked in one product.

1. Values and gradients are those of each adapter's own products, whatever the lengths, and add up over passes.
2. Blocks are stacked in bf16 on a CPU alone, and no wider than is faster; an adapter is in one once.
3. In training a job that is no longer finite fails alone, and its neighbours learn what they learn without it.
4. An adapter that is not finite is not loaded.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.engine.tiny_engine import distance, engine, flat, job, loud

from selfedit.engine.torch.bank import Bank, Weights
from selfedit.engine.torch.lora import BatchedLora, SingleBlock, blocks
from selfedit.engine.torch.stacked import WIDEST, StackedBlock, stack
from selfedit.errors import ModelError
from selfedit.types import Optimizer

CPU = torch.device("cpu")


@pytest.mark.parametrize("runs", [[(0, 4), (1, 4), (2, 1)], [(2, 1), (0, 7)]])
def test_the_same_products(runs: list[tuple[int, int]]) -> None:  # promise 1
    i, o, start, generator = 5, 6, 2, torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    adapters = [Weights([randn(r, i)], [randn(r, o)], s) for r, s in ((3, 0.5), (1, 2.0), (2, 1.0))]
    weight, found = randn(o, i), []
    x, dy = randn(2, 12, i).requires_grad_(), randn(2, 12, o)
    for made in (lambda fresh: [stack(runs, start, CPU, fresh)], lambda fresh: _apart(runs, start, fresh)):
        bank = Bank.of(adapters)
        bank.down_grad, bank.up_grad = [torch.full_like(bank.down[0], 7.0)], [torch.full_like(bank.up[0], 7.0)]  # type: ignore[arg-type]
        outs = [BatchedLora.apply(x[n], weight, None, bank, made(n == 0), 0) for n in range(2)]
        (dx,) = torch.autograd.grad(sum((y * d).sum() for y, d in zip(outs, dy, strict=True)), x)
        found.append((*outs, dx, bank.down_grad[0], bank.up_grad[0]))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def _apart(runs: list[tuple[int, int]], start: int, fresh: bool) -> list[SingleBlock]:
    ends = [start + sum(n for _, n in runs[: at + 1]) for at in range(len(runs))]
    return [SingleBlock(end - n, end, k, fresh) for (k, n), end in zip(runs, ends, strict=True)]


def test_where_blocks_are_stacked() -> None:  # promise 2
    runs, like = [(k, 3 + 40 * k) for k in range(5)], torch.zeros(1, dtype=torch.bfloat16)
    assert [type(block) for block in blocks(runs, like, rank=8)] == [StackedBlock]
    assert [len(block.owner) for block in blocks(runs, like, rank=WIDEST // 3)] == [129, 286]  # type: ignore[union-attr]
    assert not any(isinstance(block, StackedBlock) for rank in (0, WIDEST) for block in blocks(runs, like, rank=rank))
    assert not any(isinstance(block, StackedBlock) for block in blocks(runs, torch.zeros(1), rank=8))
    assert [type(block) for block in blocks([(0, 3), (1, 4), (0, 5)], like, rank=8)] == [StackedBlock, SingleBlock]


def test_a_job_fails_alone() -> None:  # promise 3
    machine, good = engine("llama", torch.bfloat16), [job(1), job(2, (9, 30)), job(3)]
    bad = job(4, (22, 31, 8), optimizer=Optimizer(lr=1e12, clip=0.0))
    *found, failed = machine.train([*good, bad])
    assert failed.adapter is None and (failed.failure or "").startswith("diverged at step 2 of 3")
    for mine, theirs in zip(found, machine.train([*good, replace(bad, optimizer=Optimizer())]), strict=False):
        assert all(map(math.isfinite, mine.losses)) and distance(flat(machine, mine), flat(machine, theirs)) < 0.05


def test_a_broken_adapter_is_not_loaded(tmp_path: Path) -> None:  # promise 4
    machine = engine("llama", torch.bfloat16)
    bad = loud(machine)
    for up in machine._adapters[bad.id].up[:1]:
        assert up is not None
        up[0, 0] = math.inf
    machine.export(bad, tmp_path / "bad")
    with pytest.raises(ModelError, match="not finite"):
        machine.load(tmp_path / "bad")
