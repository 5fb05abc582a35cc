"""The hand-written kernels against plain torch, fp64.

1. Attention over flat, ragged sequences is causal attention of each: forward and gradients of q, k, v, with and without a window, a soft cap,
   grouped heads, and whatever lengths share a bucket.
2. Decoding from the cache gives what one pass over the whole sequence gives.
3. LinearCrossEntropy is weighted cross-entropy: value, each loss, gradient; with and without a soft cap; for more rows than a chunk, and for none.
4. A loss stays finite where the probability underflows.
5. SegmentLora is W x + b + scale B A x of each segment: forward, gradients of x, A and B, added up over passes, rows without adapter untouched.
"""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfedit.engine.torch.attention import FlatAttend
from selfedit.engine.torch.cache import Cache, Decode, Prefill
from selfedit.engine.torch.lora import Segment, SegmentLora, Weights
from selfedit.engine.torch.loss import CHUNK, LinearCrossEntropy, logprobs

RAGGED = [7, 1, 12, 11, 30, 2, 12]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def randn(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, lengths: list[int], scale: float, window: int | None, softcap: float | None) -> Tensor:
    """q (H, N, D), k and v (G, N, D) → (N, H, D), one sequence and one head at a time."""
    H, _, _ = q.shape
    outputs = []
    for end, n in zip(accumulate(lengths), lengths, strict=True):
        rows = slice(end - n, end)
        heads = []
        for h in range(H):
            g = h // (H // k.shape[0])
            logits = q[h, rows] @ k[g, rows].T * scale
            if softcap:
                logits = torch.tanh(logits / softcap) * softcap
            age = torch.arange(n)[:, None] - torch.arange(n)[None]
            unseen = (age < 0) | (age >= (window or n))
            heads.append(logits.masked_fill(unseen, -math.inf).softmax(-1) @ v[g, rows])
        outputs.append(torch.stack(heads, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 4, 64])
@pytest.mark.parametrize("heads", [(4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("lengths", [RAGGED, [5, 5, 5], [1], [9]])
def test_attention(lengths: list[int], heads: tuple[int, int], window: int | None, softcap: float | None) -> None:  # promise 1
    H, G = heads
    q, k, v = randn(H, sum(lengths), 8), randn(G, sum(lengths), 8), randn(G, sum(lengths), 8)
    out = FlatAttend(lengths, CPU)(0, q, k, v, 0.3, window, softcap)
    expected = plain_attention(q, k, v, lengths, 0.3, window, softcap)
    up = torch.randn_like(out)
    gradients, wanted = (torch.autograd.grad(y, (q, k, v), up) for y in (out, expected))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_attention_gradcheck() -> None:  # promise 1
    attend = FlatAttend([3, 1, 4], CPU)
    assert torch.autograd.gradcheck(lambda q, k, v: attend(0, q, k, v, 0.5, 2, None), (randn(4, 8, 3), randn(2, 8, 3), randn(2, 8, 3)))


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 4])
def test_decoding_continues_prefill(window: int | None, softcap: float | None) -> None:  # promise 2
    lengths, new, H, G, D = [5, 1, 9], 3, 4, 2, 8
    whole = [n + new for n in lengths]
    q, k, v = randn(H, sum(whole), D, grad=False), randn(G, sum(whole), D, grad=False), randn(G, sum(whole), D, grad=False)
    expected = plain_attention(q, k, v, whole, 0.3, window, softcap).split(whole)
    starts = [end - n for end, n in zip(accumulate(whole), whole, strict=True)]
    cache = Cache(rows=4, capacity=20)
    prompt = torch.tensor([s + i for s, n in zip(starts, lengths, strict=True) for i in range(n)])
    places = [2, 0, 1]
    out = Prefill(cache, places, lengths, CPU)(0, q[:, prompt], k[:, prompt], v[:, prompt], 0.3, window, softcap)
    torch.testing.assert_close(out, torch.cat([e[:n] for e, n in zip(expected, lengths, strict=True)]), rtol=0, atol=1e-12)
    order = torch.tensor(places)
    for step in range(new):
        at = torch.tensor([n + step for n in lengths])
        flat = torch.tensor(starts) + at
        out = Decode(cache, order, at)(0, q[:, flat], k[:, flat], v[:, flat], 0.3, window, softcap)
        torch.testing.assert_close(out, torch.stack([e[n + step] for e, n in zip(expected, lengths, strict=True)]), rtol=0, atol=1e-12)


def capped_logits(hidden: Tensor, head: Tensor, softcap: float | None) -> Tensor:
    logits = hidden @ head.T
    return torch.tanh(logits / softcap) * softcap if softcap else logits


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("rows", [0, 1, CHUNK, 2 * CHUNK + 5])
def test_cross_entropy(rows: int, softcap: float | None) -> None:  # promise 3
    hidden, head = randn(rows, 6), randn(11, 6, grad=False)
    targets, weights = torch.randint(11, (rows,)), torch.randn(rows, dtype=torch.float64)
    total, each = LinearCrossEntropy.apply(hidden, head, targets, weights, softcap)
    expected = F.cross_entropy(capped_logits(hidden, head, softcap), targets, reduction="none") if rows else hidden.sum(-1)
    (mine,) = torch.autograd.grad(3 * total, hidden)
    (theirs,) = torch.autograd.grad(3 * (expected * weights).sum(), hidden)
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(total, (expected * weights).sum())
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(logprobs(hidden.detach(), head, targets, softcap), -expected.detach())


def test_loss_of_an_impossible_token() -> None:  # promise 4
    hidden, head = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[0.0], [200.0]])
    total, _ = LinearCrossEntropy.apply(hidden, head, torch.tensor([0]), torch.ones(1), None)
    assert total.item() == pytest.approx(200.0)


def adapter(rank: int, sizes: tuple[int, int], scale: float) -> Weights:
    down, up = randn(rank, sizes[0], grad=False), randn(rank, sizes[1], grad=False)
    return Weights([down], [up], scale, [torch.full_like(down, 7.0)], [torch.full_like(up, 7.0)])


@pytest.mark.parametrize("with_bias", [True, False])
def test_segment_lora(with_bias: bool) -> None:  # promise 5
    i, o, N = 5, 6, 12
    weight, bias = randn(o, i, grad=False), randn(o, grad=False) if with_bias else None
    adapters = [adapter(3, (i, o), 0.5), adapter(1, (i, o), 2.0)]
    leaves = [[z.clone().requires_grad_() for z in (*w.down, *w.up) if z is not None] for w in adapters]
    wanted = [[torch.zeros_like(z) for z in pair] for pair in leaves]
    for passes in range(2):
        x = randn(N, i)
        segments = [Segment(0, 4, adapters[0]), Segment(6, 12, adapters[1])]  # rows 4 and 5 belong to none
        y = SegmentLora.apply(x, weight, bias, segments, 0)
        parts = [F.linear(x, weight, bias)[4:6]]
        for s, (down, up) in zip(segments, leaves, strict=True):
            rows = x[s.start : s.end]
            parts.append(F.linear(rows, weight, bias) + s.weights.scale * rows @ down.T @ up)
        expected = torch.cat([parts[1], parts[0], parts[2]])
        torch.testing.assert_close(y, expected)
        dy = torch.randn_like(y)
        (dx,) = torch.autograd.grad(y, x, dy)
        theirs = torch.autograd.grad(expected, [x, *leaves[0], *leaves[1]], dy)
        torch.testing.assert_close(dx, theirs[0])
        for pair, new in zip(wanted, (theirs[1:3], theirs[3:5]), strict=True):
            for total, g in zip(pair, new, strict=True):
                total += g
        for w, (down, up) in zip(adapters, wanted, strict=True):
            assert w.fresh is (passes == 0)
            w.fresh = False
            torch.testing.assert_close(w.down_grad[0], down)
            torch.testing.assert_close(w.up_grad[0], up)
