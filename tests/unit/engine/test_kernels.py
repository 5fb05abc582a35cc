"""The hand-written kernels against plain torch, fp64.

1. Attention over flat, ragged sequences is causal attention of each: forward and gradients of q, k, v, with and without a window, a soft cap,
   grouped heads, and whatever lengths share a bucket.
2. Decoding from the cache gives what one pass over the whole sequence gives.
3. LinearCrossEntropy is weighted cross-entropy: value, each loss, gradient; with and without a soft cap and a bias; for more rows than a chunk, and
   for none.
4. A loss stays finite where the probability underflows.
5. BatchedLora is W x + b + scale B A x of each adapter's rows: forward, gradients of x, A and B, added up over passes; other rows untouched.
6. The fused norm and rotary embedding are what plain torch makes of their formulas: forward and gradient. In fp32 every family's model runs with
   them, and computes what it did with its own parts.
7. The grouped products for GPUs are those of one adapter after another; the same kernel runs on a CPU here.
"""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
from tests.unit.engine.tiny_engine import FAMILIES, engine, reference
from torch import Tensor

from selfedit.engine.torch.attention import FlatAttention
from selfedit.engine.torch.bank import Bank, Weights
from selfedit.engine.torch.cross_entropy import CHUNK, Head, LinearCrossEntropy, logprobs
from selfedit.engine.torch.fused import Attention, Norm, Rotate
from selfedit.engine.torch.grouped import grouped
from selfedit.engine.torch.kv_cache import DecodeAttention, KVCache, PrefillAttention
from selfedit.engine.torch.lora import BatchedLora, SingleBlock, blocks
from selfedit.models import Family

RAGGED = [7, 1, 12, 11, 30, 2, 12]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def randn(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], scale: float, window: int | None, softcap: float | None) -> Tensor:
    """q (N, H, D), k and v (N, G, D) → (N, H, D), one sequence and one head at a time."""
    _, H, _ = q.shape
    outputs = []
    for end, n in zip(accumulate(lengths), lengths, strict=True):
        rows = slice(end - n, end)
        heads = []
        for h in range(H):
            g = h // (H // k.shape[1])
            logits = q[rows, h] @ k[rows, g].T * scale
            if softcap:
                logits = torch.tanh(logits / softcap) * softcap
            age = torch.arange(n)[:, None] - torch.arange(n)[None]
            unseen = (age < 0) | (age >= (window or n))
            heads.append(logits.masked_fill(unseen, -math.inf).softmax(-1) @ v[rows, g])
        outputs.append(torch.stack(heads, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 4, 64])
@pytest.mark.parametrize("heads", [(4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("lengths", [RAGGED, [5, 5, 5], [1], [9]])
def test_attention(lengths: list[int], heads: tuple[int, int], window: int | None, softcap: float | None) -> None:  # promise 1
    H, G = heads
    N = sum(lengths)
    q, k, v = randn(N, H, 8), randn(N, G, 8), randn(N, G, 8)
    out = FlatAttention(lengths, CPU)(0, q, k, v, 0.3, window, softcap)
    expected = plain_attention(q, k, v, lengths, 0.3, window, softcap)
    up = torch.randn_like(out)
    gradients, wanted = (torch.autograd.grad(y, (q, k, v), up) for y in (out, expected))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_attention_gradcheck() -> None:  # promise 1
    attend = FlatAttention([3, 1, 4], CPU)
    assert torch.autograd.gradcheck(lambda q, k, v: attend(0, q, k, v, 0.5, 2, None), (randn(8, 4, 3), randn(8, 2, 3), randn(8, 2, 3)))


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 4])
def test_decoding_continues_prefill(window: int | None, softcap: float | None) -> None:  # promise 2
    lengths, new, H, G, D = [5, 1, 9], 3, 4, 2, 8
    whole = [n + new for n in lengths]
    N = sum(whole)
    q, k, v = randn(N, H, D, grad=False), randn(N, G, D, grad=False), randn(N, G, D, grad=False)
    expected = plain_attention(q, k, v, whole, 0.3, window, softcap).split(whole)
    starts = [end - n for end, n in zip(accumulate(whole), whole, strict=True)]
    cache = KVCache(rows=4)
    cache.reserve(20)
    prompt = torch.tensor([s + i for s, n in zip(starts, lengths, strict=True) for i in range(n)])
    places = [2, 0, 1]
    out = PrefillAttention(cache, places, lengths, [0] * len(lengths), CPU)(0, q[prompt], k[prompt], v[prompt], 0.3, window, softcap)
    torch.testing.assert_close(out, torch.cat([e[:n] for e, n in zip(expected, lengths, strict=True)]), rtol=0, atol=1e-12)
    for step in range(new):
        at = [n + step for n in lengths]
        flat = torch.tensor(starts) + torch.tensor(at)
        out = DecodeAttention(cache, places, at, CPU)(0, q[flat], k[flat], v[flat], 0.3, window, softcap)
        torch.testing.assert_close(out, torch.stack([e[n + step] for e, n in zip(expected, lengths, strict=True)]), rtol=0, atol=1e-12)


def capped_logits(hidden: Tensor, head: Tensor, bias: Tensor | None, softcap: float | None) -> Tensor:
    logits = hidden @ head.T + (0 if bias is None else bias)
    return torch.tanh(logits / softcap) * softcap if softcap else logits


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("rows", [0, 1, CHUNK, 2 * CHUNK + 5])
def test_cross_entropy(rows: int, softcap: float | None, with_bias: bool) -> None:  # promise 3
    hidden, head, bias = randn(rows, 6), randn(11, 6, grad=False), randn(11, grad=False) if with_bias else None
    targets, weights = torch.randint(11, (rows,)), torch.randn(rows, dtype=torch.float64)
    total, each = LinearCrossEntropy.apply(hidden, Head(head, bias, softcap), targets, weights)
    expected = F.cross_entropy(capped_logits(hidden, head, bias, softcap), targets, reduction="none") if rows else hidden.sum(-1)
    (mine,) = torch.autograd.grad(3 * total, hidden)
    (theirs,) = torch.autograd.grad(3 * (expected * weights).sum(), hidden)
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(total, (expected * weights).sum())
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(logprobs(hidden.detach(), Head(head, bias, softcap), targets), -expected.detach())


def test_loss_of_an_impossible_token() -> None:  # promise 4
    hidden, head = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[0.0], [200.0]])
    total, _ = LinearCrossEntropy.apply(hidden, Head(head), torch.tensor([0]), torch.ones(1))
    assert total.item() == pytest.approx(200.0)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("runs", [[(0, 4), (1, 4)], [(1, 5), (0, 3)], [(0, 7), (1, 1)], [(0, 3), (2, 3)]])
def test_batched_lora(with_bias: bool, runs: list[tuple[int, int]]) -> None:  # promise 5
    i, o, N, start = 5, 6, 11, 2  # the first two rows and the last belong to no adapter
    weight, bias = randn(o, i, grad=False), randn(o, grad=False) if with_bias else None
    ranks, scales = (3, 1, 2), (0.5, 2.0, 1.0)
    adapters = [Weights([randn(r, i, grad=False)], [randn(r, o, grad=False)], s) for r, s in zip(ranks, scales, strict=True)]
    bank = Bank.of(adapters)
    bank.down_grad, bank.up_grad = [torch.full_like(bank.down[0], 7.0)], [torch.full_like(bank.up[0], 7.0)]
    leaves = {k: [z.clone().requires_grad_() for z in (*adapters[k].down, *adapters[k].up) if z is not None] for k, _ in runs}
    wanted = {k: [torch.zeros_like(z) for z in pair] for k, pair in leaves.items()}
    for passes in range(2):
        x = randn(N, i)
        y = BatchedLora.apply(x, weight, bias, bank, blocks(runs, x, start, [passes == 0] * len(runs)), 0)
        expected, at = F.linear(x, weight, bias), start
        for k, n in runs:
            down, up = leaves[k]
            delta = torch.zeros_like(expected)
            delta[at : at + n] = scales[k] * x[at : at + n] @ down.T @ up
            expected, at = expected + delta, at + n
        torch.testing.assert_close(y, expected)
        dy = torch.randn_like(y)
        (dx,) = torch.autograd.grad(y, x, dy)
        flat = [z for k, _ in runs for z in leaves[k]]
        theirs = torch.autograd.grad(expected, [x, *flat], dy)
        torch.testing.assert_close(dx, theirs[0])
        for total, g in zip([z for k, _ in runs for z in wanted[k]], theirs[1:], strict=True):
            total += g
        for k, _ in runs:
            down, up = wanted[k]
            for mine, his in ((bank.down_grad[0][k], down), (bank.up_grad[0][k], up)):
                torch.testing.assert_close(mine[: ranks[k]], his)
                assert not mine[ranks[k] :].any()  # above its rank an adapter stays exactly zero


@pytest.mark.parametrize("runs", [[(0, 4), (1, 4)], [(2, 1), (0, 9), (1, 3)], [(1, 5)]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_grouped_products(runs: list[tuple[int, int]], dtype: torch.dtype) -> None:  # promise 7
    i, o, start, total = 16, 24, 2, sum(n for _, n in runs)
    x, dy = torch.randn(total + 3, i).to(dtype), torch.randn(total + 3, o).to(dtype)
    down, up, scale = torch.randn(3, 8, i).to(dtype), torch.randn(3, 8, o).to(dtype), torch.tensor([0.5, 2.0, 1.0]).to(dtype)[:, None, None]
    ends = list(accumulate((n for _, n in runs), initial=start))
    for fresh in (True, False):
        found = []
        for ways in ([grouped(runs, start, CPU, fresh)], [SingleBlock(at, at + n, k, fresh) for at, (k, n) in zip(ends, runs, strict=False)]):
            y, dx, into = dy.clone(), x.clone(), (torch.ones(3, 8, i), torch.ones(3, 8, o))
            for block in ways:
                block.backward(dx, dy, x, block.forward(y, x, down, up, scale), down, up, scale, into)
            found.append((y, dx, *into))
        for mine, theirs in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0.05 if dtype == torch.bfloat16 else 1e-5, atol=0.3 if dtype == torch.bfloat16 else 1e-4)


def test_norm() -> None:  # promise 6
    x, weight = randn(5, 8), randn(8, grad=False)
    expected = x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight
    torch.testing.assert_close(Norm(weight, 1e-5)(x), expected)
    assert torch.autograd.gradcheck(Norm(weight, 1e-5), (x,))


def test_rotary_embedding() -> None:  # promise 6
    x, angle = randn(5, 3, 8), randn(5, 1, 4, grad=False)
    turned = torch.polar(torch.ones_like(angle), angle) * torch.complex(x[..., :4], x[..., 4:])
    torch.testing.assert_close(Rotate.apply(x, angle.cos(), angle.sin()), torch.cat([turned.real, turned.imag], -1))
    assert torch.autograd.gradcheck(lambda x: Rotate.apply(x, angle.cos(), angle.sin()), (x,))


@pytest.mark.parametrize("family", FAMILIES)
def test_models_run_with_fused_parts(family: Family) -> None:  # promise 6
    tokens = torch.arange(40)
    expected = reference(family, torch.float32)(tokens[None]).logits[0]
    base = engine(family, torch.float32).base
    assert {type(m) for m in base.backbone.modules()} >= {Norm, Attention}
    hidden = base.forward(tokens, torch.arange(40), FlatAttention([40], CPU))
    torch.testing.assert_close(base.head.logits(hidden), expected, rtol=0, atol=1e-4)
