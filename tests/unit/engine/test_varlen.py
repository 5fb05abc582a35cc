"""PyTorch's flash attention in place of the engine's own (`engine.varlen`), which has no kernel on a CPU: its definition stands in for it here.

1. Training, sampling and scores with it are those without it: prompts that share beginnings, windows, key-value heads that query heads share.
2. PyTorch's own function takes what it is handed, and has a gradient: told by its form for tensors without numbers.
3. It is taken only where it computes what the engine's own attention does; else one line says why, and where the setting is `on`, an error.
4. A pass keeps nothing for a pair of a query and a key.
"""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.unit.engine.tiny_engine import distance, engine, flat, job, loud, prose
from torch import Tensor

from selfedit.engine.torch import hardware, varlen
from selfedit.engine.torch.arena import Arena
from selfedit.engine.torch.attention import Ends
from selfedit.engine.torch.budget import measure
from selfedit.errors import EngineError
from selfedit.models import Family
from selfedit.types import LoraShape, Optimizer, SampleRequest, Sampling, ScoreRequest


def definition(
    q: Tensor, k: Tensor, v: Tensor, ends_q: Tensor, ends_k: Tensor, max_q: int, max_k: int, *, scale: float, window_size: Any, enable_gqa: bool
) -> Tensor:
    """As the function's documentation has it: the last query stands at the last key, and sees `window_size` keys before and after itself."""
    assert enable_gqa and ends_q.dtype == ends_k.dtype == torch.int32
    out = []
    spans_q, spans_k = (list(pairwise(ends.tolist())) for ends in (ends_q, ends_k))
    assert max_q == max(b - a for a, b in spans_q) and max_k == max(b - a for a, b in spans_k)
    for (a, b), (c, d) in zip(spans_q, spans_k, strict=True):
        keys, values = (z[c:d].repeat_interleave(q.shape[1] // k.shape[1], 1) for z in (k, v))
        at = torch.arange(b - a)[:, None] + (d - c) - (b - a) - torch.arange(d - c)  # how far a key lies before a query
        left, right = window_size
        seen = (at >= -right) & ((at <= left) | (left < 0))
        logits = torch.einsum("qhd,khd->hqk", q[a:b], keys) * scale
        out.append(torch.einsum("hqk,khd->qhd", logits.masked_fill(~seen, float("-inf")).softmax(-1), values))
    return torch.cat(out)


@pytest.fixture
def defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "_varlen_attn", lambda: (definition, {"enable_gqa": True}))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_same_results(family: Family, defined: None) -> None:  # promise 1
    own, fast = engine(family, varlen="off"), engine(family, varlen="on")
    assert own.base.flash is None and fast.base.flash is varlen.flash
    jobs = [job(i, (12, 30, 5, 200), LoraShape(4, 8.0), batch_size=2, optimizer=Optimizer(eps=1e-4, clip=0.0)) for i in range(2)]
    found: list[Any] = []
    beginning = prose(random.Random(9), 40)
    prompts = [beginning + prose(random.Random(n), n) for n in (30, 4, 17)] + [prose(random.Random(1), 6)]
    for machine in (own, fast):
        adapters = [None, loud(machine, 1)]
        written = machine.sample([SampleRequest(p, Sampling(6), a) for p in prompts for a in adapters])
        scores = machine.score([ScoreRequest(p, prompts[3], a) for p in prompts for a in adapters])
        found.append((machine.train(jobs), [c.tokens for c in written], [x for s in scores for x in s.logprobs]))
    assert found[0][1] == found[1][1] and found[0][2] == pytest.approx(found[1][2], abs=1e-9)
    for theirs, mine in zip(found[0][0], found[1][0], strict=True):
        assert mine.losses == pytest.approx(theirs.losses, rel=1e-9) and distance(flat(fast, mine), flat(own, theirs)) <= 1e-9


@pytest.mark.parametrize("window", [None, 6])
def test_pytorchs_own_function(window: int | None) -> None:  # promise 2
    lengths = [5, 9]
    q, k, v = (torch.empty(14, heads, 16, dtype=torch.bfloat16, device="meta", requires_grad=True) for heads in (4, 2, 2))
    ends = Ends(Ends.of(lengths, torch.device("cpu")).cumulative.to("meta"), 9)
    out = varlen.flash(q, k, v, ends, ends, 0.25, window)
    assert out.shape == q.shape
    assert [z.shape for z in torch.autograd.grad(out, (q, k, v), torch.empty_like(out))] == [z.shape for z in (q, k, v)]


def test_where_it_is_taken(defined: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 3
    def choose(wrong: Any) -> bool:
        monkeypatch.setattr(varlen, "_varlen_attn", lambda: (wrong, {"enable_gqa": True}))
        return engine("gemma3", torch.bfloat16).base.flash is not None

    assert not choose(definition)  # no GPU
    monkeypatch.setattr(hardware, "has_flash", lambda like: True)
    assert choose(definition) and capsys.readouterr().err == ""
    for wrong in (
        lambda *args, **options: definition(*args, **options | {"scale": 1.3 * options["scale"]}),
        lambda *args, window_size, **options: definition(*args, window_size=(window_size[0], 1), **options),
        lambda *args, window_size, **options: definition(*args, window_size=(-1, 0), **options),
        lambda q, k, *args, **options: definition(q, k.detach(), *args, **options) + 0 * k.sum(),
        lambda *args, **options: definition(*args, **options) * float("nan"),
    ):
        assert not choose(wrong)
        assert capsys.readouterr().err.startswith("selfedit: engine.varlen is off from here on: flash attention is ")


def test_where_there_is_none(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    with pytest.raises(EngineError, match=r"^engine.varlen is on, but .*use auto or off$"):
        engine(dtype=torch.bfloat16, varlen="on")
    monkeypatch.setattr(hardware, "has_flash", lambda like: True)
    assert engine(dtype=torch.bfloat16).base.flash is None
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_pass_keeps(defined: None, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    monkeypatch.setattr(varlen, "flash", lambda q, k, v, *_: q.clone())  # keeps its inputs, as the real one does
    machine = engine(dtype=torch.float32)
    arena = Arena(machine.base, 1, [LoraShape(8, 8.0)])
    before = measure(machine.base, arena.bank)
    machine.base.flash = varlen.flash
    kept = measure(machine.base, arena.bank)
    assert before.pair > 0 and abs(kept.pair) < 4
