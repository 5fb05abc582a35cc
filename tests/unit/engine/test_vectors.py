"""Edit vectors in the embedded engine, on tiny random models in fp64.

1. The basis is the truncated singular value decomposition of the weights, and an adapter is the change that the formula says.
2. The same edit gives the same adapter whatever else was made, also after something was merged; zeros change nothing; PEFT reads it back.
3. After edits were applied, evaluated and dropped the model gives the same bits.
4. A planted edit is found: the learner closes 90 % of the gap, and its edit points where the planted one does.
5. With two kinds of context each gets its own planted edit, which beats the best edit for both.
6. Reading is the mean of the last hidden states; what cannot be made or read is refused.
7. Layers below the first that is edited run once for each text, whatever the number of edits, and scores are those of running all layers for each.
8. Edits that are scored together share the matrix A, and score as each does alone.
9. A sum of adapters is exactly their updates one after another, and PEFT reads it back.
10. A step of descent is the gradient that autograd finds, cut to its rank; an edit of that basis weighs its directions, also once it was written
    and read; the loss falls along it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.engine.tiny_engine import FAMILIES, engine, flat, prose, reference, with_peft
from tests.unit.engine.tiny_engine import loud as trained_loud

from selfedit.algorithms.reinforce import Reinforce, ReinforceSettings
from selfedit.engine.torch import score
from selfedit.engine.torch.descent import LENGTH
from selfedit.engine.torch.engine import Torch
from selfedit.engine.torch.fallback import Fallback
from selfedit.engine.torch.kv_cache import KVCache
from selfedit.engine.torch.lora import ActiveAdapters
from selfedit.engine.torch.prefill import Text, prefill
from selfedit.errors import EngineError
from selfedit.models import Family
from selfedit.types import Adapter, Datum, SampleRequest, Sampling, Score, ScoreRequest, Tokens, VectorEdit
from selfedit.vectors import gaussian
from selfedit.vectors.gaussian import Array, Schedule

LAYERS, RANK, WIDTH = (0, 1), 2, 3


def edit(values: Sequence[float], layers: tuple[int, ...] = LAYERS) -> VectorEdit:
    return VectorEdit(7, layers, RANK, WIDTH, tuple(float(value) for value in values))


def loud(seed: int = 0) -> VectorEdit:
    return edit(np.random.default_rng(seed).normal(0, 3, len(LAYERS) * WIDTH))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_formula(family: str) -> None:  # promise 1
    machine = engine(family)  # type: ignore[arg-type]
    made = machine._adapters[machine.make(one := loud()).id]
    again = machine._adapters[machine.make(edit(one.values[:WIDTH], (0,))).id]
    for site, (down, up) in enumerate(zip(made.down, made.up, strict=True)):
        assert down is not None and up is not None and down.shape[0] == RANK
        U, S, V = torch.linalg.svd(machine.base.linears[site].weight, full_matrices=False)
        layer = machine.base.site_layers[site]
        generator = torch.Generator().manual_seed(7 * 1_000_003 + site)
        P = torch.randn(WIDTH, RANK, RANK, generator=generator, dtype=torch.float64) / RANK**0.5
        signs = (V[:RANK] * down).sum(1).sign()  # the formula leaves the sign of a singular direction open
        U, V = U[:, :RANK] * signs, V[:RANK] * signs[:, None]
        root = S[:RANK].sqrt().diag()
        mixed = sum(a * p for a, p in zip(one.values[layer * WIDTH : (layer + 1) * WIDTH], P, strict=True))
        assert torch.allclose(up.t() @ down, U @ root @ mixed @ root @ V, atol=1e-9)
        alone = again.up[site]
        assert (alone is None) == (layer != 0) and (alone is None or torch.equal(alone, up))  # another layer changes nothing


def test_the_same_edit_is_the_same_adapter(tmp_path: Path) -> None:  # promise 2
    machine = engine()
    first = machine.make(loud())
    machine.make(loud(1))
    machine.merge(first)
    assert torch.equal(flat(machine, machine.make(loud())), flat(machine, first))
    machine.reset()
    asked = ScoreRequest(prompt := prose(random.Random(0), 9), prose(random.Random(1), 5))
    nothing = replace(asked, adapter=machine.make(edit([0.0] * 6)))
    [plain], [zero] = machine.score([asked]), machine.score([nothing])
    assert plain == zero
    for beside in machine.score([asked, nothing]):  # rows of one product, whose sums depend on where they stand on some processors
        assert beside.logprobs == pytest.approx(plain.logprobs, rel=1e-12)
    machine.export(first, tmp_path)
    logits = with_peft("llama", tmp_path, torch.float64)(torch.tensor([prompt + asked.completion])).logits[0].log_softmax(-1)
    [by_peft] = [logits[torch.arange(8, 13), list(asked.completion)].tolist()]
    assert machine.score([replace(asked, adapter=first)])[0].logprobs == pytest.approx(by_peft, abs=1e-5)  # the file holds fp32
    assert by_peft != pytest.approx(plain.logprobs, abs=1e-3)


def logprobs(machine: Torch, texts: Sequence[Tokens], edits: Sequence[VectorEdit | None]) -> list[torch.Tensor]:
    """(N, V) over all texts, for every edit; the edits are dropped."""
    adapters = [machine.make(one) if one else None for one in edits]
    active = ActiveAdapters(machine._adapters, adapters)
    every = [Text(adapter, text, 0) for adapter in adapters for text in texts]
    with torch.no_grad():
        hidden = prefill(machine.base, active, KVCache(len(every)), every)
        found = [machine.base.head.logits(states).log_softmax(-1) for states in hidden]
    for adapter in adapters:
        if adapter:
            machine.drop(adapter)
    n = len(texts)
    return [torch.cat(found[i * n : (i + 1) * n]) for i in range(len(adapters))]


def test_nothing_is_left() -> None:  # promise 3
    machine = engine()
    texts = [prose(random.Random(n), 12) for n in range(3)]
    [before] = logprobs(machine, texts, [None])
    weights = [linear.weight.clone() for linear in machine.base.linears]
    requests = [SampleRequest(texts[0], Sampling(8), machine.make(loud(n))) for n in range(4)]
    machine.sample(requests)
    machine.score([ScoreRequest(texts[0], texts[1], r.adapter) for r in requests])
    for request in requests:
        assert request.adapter
        machine.drop(request.adapter)
    [after] = logprobs(machine, texts, [None])
    assert torch.equal(before, after) and not machine._adapters
    assert all(torch.equal(linear.weight, weight) for linear, weight in zip(machine.base.linears, weights, strict=True))


def rewards(machine: Torch, texts: Sequence[Tokens], teacher: torch.Tensor, values: Array) -> Array:
    """−KL(teacher ‖ edited), nats a token: 0 for the planted edit alone (Gibbs)."""
    students = logprobs(machine, texts, [edit(one) for one in values])
    return np.array([-float((teacher.exp() * (teacher - student)).sum(-1).mean()) for student in students])


def taught(machine: Torch, texts: Sequence[Sequence[Tokens]], teachers: Sequence[torch.Tensor], features: Sequence[Array], rounds: int) -> Array:
    """M after learning from −KL to a teacher for each context."""
    weigh = Reinforce(ReinforceSettings()).weigh
    schedule = Schedule(0.3, 0.25, 20.0)
    now = gaussian.begin(len(LAYERS) * WIDTH, len(features[0]), schedule.sigma)
    for n in range(rounds):
        drawn = [gaussian.draw(now.policy, phi, 8, 100 * n + i) for i, phi in enumerate(features)]
        groups = [replace(d, rewards=rewards(machine, t, teacher, d.actions)) for d, t, teacher in zip(drawn, texts, teachers, strict=True)]
        now = gaussian.update(now, groups, weigh, 1, schedule, n / (rounds - 1))
    return now.policy.mean


def cosine(one: Array, other: Array) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_a_planted_edit_is_found() -> None:  # promise 4
    machine, texts, planted = engine(), [prose(random.Random(n), 16) for n in range(3)], np.array(loud().values)
    [teacher] = logprobs(machine, texts, [edit(planted)])
    assert abs(rewards(machine, texts, teacher, planted[None])[0]) < 1e-12
    found = taught(machine, [texts], [teacher], [np.ones(1)], 60)[:, 0]
    start, end = rewards(machine, texts, teacher, np.stack([np.zeros_like(found), found]))
    assert end > 0.1 * start, (start, end)
    assert cosine(found, planted) >= 0.9, (found, planted)


def test_two_contexts() -> None:  # promise 5
    machine, planted = engine(), [np.array(loud(n).values) for n in (0, 1)]
    texts = [[prose(random.Random(n), 12) for n in (4 * i, 4 * i + 1)] for i in (0, 1)]
    teachers = [logprobs(machine, some, [edit(one)])[0] for some, one in zip(texts, planted, strict=True)]
    contextual = taught(machine, texts, teachers, [np.array([1.0, 1.0]), np.array([1.0, -1.0])], 30)
    single = taught(machine, texts, teachers, [np.ones(1), np.ones(1)], 30)
    own = [contextual @ phi for phi in (np.array([1.0, 1.0]), np.array([1.0, -1.0]))]
    regrets = [
        -np.mean([rewards(machine, t, teacher, a[None])[0] for t, teacher, a in zip(texts, teachers, edits, strict=True)])
        for edits in (own, [single[:, 0]] * 2)
    ]
    assert regrets[0] < 0.5 * regrets[1], regrets


def scored(machine: Torch, cache_tokens: int = 0, whole: bool = False) -> tuple[list[Score], list[int]]:
    """Five edits of the last layer and the model itself on four texts, three with a beginning in common; the rows that each linear layer saw."""
    rng, rows = random.Random(3), [0] * len(machine.base.sites)
    start = prose(rng, 20)
    texts = [(start + prose(rng, n), prose(rng, 3)) for n in (2, 5, 9)] + [(prose(rng, 7), prose(rng, 2))]
    adapters = [None, *(machine.make(edit(loud(n).values[WIDTH:], (1,))) for n in range(5))]
    requests = [ScoreRequest(*text, adapter, top=n) for adapter in adapters for n, text in enumerate(texts)]

    def count(site: int) -> Callable[[Any, Any, torch.Tensor], None]:
        def note(_: Any, __: Any, out: torch.Tensor) -> None:
            rows[site] += out.numel() // out.shape[-1]

        return note

    assert machine.base.divisible
    hooks = [linear.register_forward_hook(count(site)) for site, linear in enumerate(machine.base.linears)]
    machine.base.divisible = not whole
    found = score.score(machine.base, machine._adapters, requests, cache_tokens or machine.cache_tokens, 1024)
    for hook in hooks:
        hook.remove()
    return found, rows


@pytest.mark.parametrize("family", FAMILIES)
def test_lower_layers_run_once(family: Family) -> None:  # promise 7
    plain, everywhere = scored(engine(family), whole=True)
    for cache_tokens in (0, 64):  # all texts in a turn, and two turns
        found, rows = scored(machine := engine(family), cache_tokens)
        for one, other in zip(found, plain, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-10) and [ids for ids, _ in one.top] == [ids for ids, _ in other.top]
        below, above = ([n for n, layer in zip(rows, machine.base.site_layers, strict=True) if layer == i] for i in (0, 1))
        if cache_tokens:
            assert max(below) <= 70
        else:
            assert set(below) == {20 + sum(n + 2 for n in (2, 5, 9)) + 8} and set(above) == set(everywhere)


def test_the_slow_way_is_not_divided() -> None:  # promise 7
    assert not Fallback(reference()).divisible


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-10), (torch.bfloat16, 0.1)])
def test_one_matrix_for_all(dtype: torch.dtype, allowed: float) -> None:  # promise 8
    machine = engine(dtype=dtype)
    edits = [machine.make(loud(n)) for n in range(4)]
    bank = ActiveAdapters(machine._adapters, edits).bank
    assert bank and {down.stride(0) for down in bank.down if down is not None} == {0}
    rng = random.Random(1)
    requests = [ScoreRequest(prose(rng, 9 + i), prose(rng, 4), one) for i, one in enumerate(edits) for _ in range(2)]
    alone = [machine.score([one])[0] for one in requests]
    for one, other in zip(machine.score(requests), alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=allowed)


def test_a_sum(tmp_path: Path) -> None:  # promise 9
    machine, rng = engine(), random.Random(2)
    trained, vector = trained_loud(machine), machine.make(edit(loud().values[WIDTH:], (1,)))
    both = machine.summed([trained, vector])
    asked = ScoreRequest(prompt := prose(rng, 9), prose(rng, 5), both)
    [together] = machine.score([asked])
    machine.merge(trained)
    [after] = machine.score([replace(asked, adapter=vector)])
    machine.reset()
    assert together.logprobs == pytest.approx(after.logprobs, abs=1e-9)
    machine.export(both, tmp_path)
    logits = with_peft("llama", tmp_path, torch.float64)(torch.tensor([prompt + asked.completion])).logits[0].log_softmax(-1)
    assert together.logprobs == pytest.approx(logits[torch.arange(8, 13), list(asked.completion)].tolist(), abs=1e-5)


def descending(machine: Torch) -> tuple[list[Datum], Adapter]:
    """Ten tokens in all, so gradients of rank ten at most, as many directions as are looked at; and a step against them in the last layer."""
    data = [datum(prose(random.Random(n), 5), 2) for n in range(2)]
    return data, machine.descent(data, (1,), RANK)


def datum(tokens: Tokens, shown: int) -> Datum:
    return Datum(tokens, tuple(float(n >= shown) for n in range(len(tokens))))


@pytest.mark.parametrize("family", FAMILIES)
def test_descent(family: Family) -> None:  # promise 10
    machine, model = engine(family), reference(family).requires_grad_(True)
    data, step = descending(machine)
    losses = [-model(torch.tensor([d.tokens])).logits[0, 1:-1].log_softmax(-1)[torch.arange(3), list(d.tokens[2:])].mean() for d in data]
    torch.stack(losses).mean().backward()
    weights, found = dict(model.named_modules()), machine._adapters[step.id]
    for site, layer in enumerate(machine.base.site_layers):
        down, up = found.down[site], found.up[site]
        assert (down is None) == (up is None) == (layer != 1)
        if down is None or up is None:
            continue
        weight = weights[machine.base.sites[site].name].weight
        U, S, V = torch.linalg.svd(weight.grad)
        cut = U[:, :RANK] @ S[:RANK].diag() @ V[:RANK]
        assert torch.allclose(up.t() @ down, -LENGTH * weight.norm() * cut / cut.norm(), atol=1e-7)


def test_an_edit_weighs_directions(tmp_path: Path) -> None:  # promise 10
    machine = engine()
    data, step = descending(machine)
    machine.export(step, tmp_path)
    edited = VectorEdit(0, (1,), RANK, RANK, (3.0, -0.5), "sha")
    whole = machine._adapters[step.id]
    for basis, near in ((step, 1e-12), (machine.load(tmp_path), 1e-6)):
        made = machine._adapters[machine.make(edited, basis).id]
        for site, (down, up) in enumerate(zip(made.down, made.up, strict=True)):
            a, b = whole.down[site], whole.up[site]
            assert (down is None) == (up is None) == (a is None)
            if a is not None and b is not None and down is not None and up is not None:
                assert torch.allclose(made.scale * up.t() @ down, 3 * torch.outer(b[0], a[0]) - 0.5 * torch.outer(b[1], a[1]), atol=near)
    along = [machine.make(VectorEdit(0, (1,), RANK, RANK, (c, c), "sha"), step) for c in (-1.0, 0.0, 1.0)]
    asked = [[ScoreRequest(d.tokens[:2], d.tokens[2:], adapter) for d in data] for adapter in along]
    up_hill, here, down_hill = (sum(sum(score.logprobs) for score in machine.score(some)) for some in asked)
    assert up_hill < here < down_hill
    with pytest.raises(EngineError, match="its basis, of rank 2"):
        machine.make(edited)
    with pytest.raises(EngineError, match="no directions in layer 0"):
        machine.make(replace(edited, layers=(0,)), step)
    with pytest.raises(EngineError, match="at least one token that is learned"):
        machine.descent([datum(data[0].tokens, 99)], (1,), RANK)
    with pytest.raises(EngineError, match="no layer 7"):
        machine.descent(data, (7,), RANK)


def test_reading() -> None:  # promise 6
    machine, texts = engine(), [prose(random.Random(n), 5 + n) for n in range(3)]
    model = reference()
    for text, found in zip(texts, machine.read(texts), strict=True):
        with torch.no_grad():
            states = model(torch.tensor([text]), output_hidden_states=True).hidden_states[-1][0]
        assert found == pytest.approx(states.mean(0).tolist(), abs=1e-9)


def test_refusals() -> None:  # promise 6
    machine = engine()
    with pytest.raises(EngineError, match=r"no layer 9 that .* its layers are 0 to 1"):
        machine.make(edit([0.0] * 3, (9,)))
    with pytest.raises(EngineError, match="3 finite numbers for each"):
        machine.make(edit([0.0] * 5))
    with pytest.raises(EngineError, match="3 finite numbers for each"):
        machine.make(edit([float("nan")] * 6))
    with pytest.raises(EngineError, match="empty text"):
        machine.read([()])
