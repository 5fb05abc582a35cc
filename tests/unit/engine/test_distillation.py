"""Distillation: learning a teacher's distribution of the next token, of which the likeliest tokens are listed.

1. The loss of one position by hand: forward, reverse, between the two, at a temperature, with a rest and without.
2. Loss and gradient are autograd's of the definition over full logits (fp64): any numbers of listed tokens, more rows than a chunk, with and without
   a soft cap and a bias; and they pass gradcheck.
3. Where the whole vocabulary is listed, they are torch's kl_div of the tempered distributions, times τ²; also beside rows where it is not.
4. A rest near 0 on either side keeps both finite: fp32 is fp64 within rounding. A listed sum a little above 1 is read as 1.
5. A student that is its teacher has neither loss nor gradient: fresh adapters stay at zero.
6. A job, alone = together with jobs of any loss, in any order and passes (fp64); so is it the slow way.
7. A job is the textbook loop with PEFT, the definition over full logits, clipping and AdamW.
8. A step of tokens with and without a teacher is the mean of the two by their weights: loss, metric and gradient.
9. Without a teacher it is `cross_entropy` to the bit; so are the neighbours of distillation that learn by cross-entropy, within rounding.
10. A teacher that is NaN, and a learning rate that is too high, fail their job alone: the neighbours keep every bit.
11. Wrong options and teachers are refused before anything is trained, by the fake engine too, which takes the same jobs.
12. Context distillation: an adapter that never sees the passage comes to expect what the model expects with the passage in view. bf16 too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.unit.engine.by_peft import begin, fresh_peft, initial, updates
from tests.unit.engine.test_architectures import slow_llama
from tests.unit.engine.test_losses import REWARDED
from tests.unit.engine.tiny_engine import VOCABULARY, LoraShape, distance, engine, flat, job, prose, reference
from torch import Tensor

from selfedit.engine.fake import Fake
from selfedit.engine.torch.cross_entropy import CHUNK, Head
from selfedit.engine.torch.distillation import LinearDistillation, Teacher, divergence
from selfedit.engine.torch.engine import Torch
from selfedit.errors import ConfigError, EngineError
from selfedit.types import Datum, Optimizer, Score, ScoreRequest, TopTokens, TrainJob

DOUBLE = torch.zeros((), dtype=torch.float64)
V = 11


def options(reverse: float = 0.0, temperature: float = 1.0) -> dict[str, float]:
    return {"reverse": reverse, "temperature": temperature}


def listing(logp: Tensor, count: int) -> TopTokens:
    """The likeliest tokens of log-probabilities (V,)."""
    values, ids = logp.topk(count)
    return tuple(ids.tolist()), tuple(values.tolist())


def plain(logits: Tensor, known: TopTokens, o: Mapping[str, float]) -> Tensor:
    """The definition, (V,) → scalar: probabilities of the listed tokens and of the rest, tempered; no thought for rounding."""
    ids, tau, r = torch.tensor(known[0]), o["temperature"], o["reverse"]
    p, q = torch.tensor(known[1], dtype=torch.float64).exp(), logits.softmax(-1)[ids]
    if len(ids) < len(logits):
        p, q = (torch.cat([z, (1 - z.sum())[None]]) for z in (p, q))
    p, q = (z ** (1 / tau) / (z ** (1 / tau)).sum() for z in (p, q))
    return tau**2 * ((1 - r) * (p * (p / q).log()).sum() + r * (q * (q / p).log()).sum())


# ---------------------------------------------------------------- the loss


def by_hand(probabilities: Sequence[float], known: Mapping[int, float], reverse: float = 0.0, temperature: float = 1.0) -> float:
    entry = tuple(known), tuple(map(math.log, known.values()))
    each, _ = divergence(torch.tensor([probabilities], dtype=torch.float64).log(), Teacher.of([(entry, options(reverse, temperature))], DOUBLE))
    return each.item()


def test_by_hand() -> None:  # promise 1
    """Four tokens; the teacher lists 2 (1/2) and 0 (1/4), the rest is 1/4. The student has 1/8, 1/2, 1/4, 1/8: a rest of 5/8."""
    student, teacher = [1 / 8, 1 / 2, 1 / 4, 1 / 8], {2: 1 / 2, 0: 1 / 4}
    forward = math.log(2) / 2 + math.log(2) / 4 + math.log(2 / 5) / 4
    reverse = -math.log(2) / 4 - math.log(2) / 8 + 5 / 8 * math.log(5 / 2)
    assert by_hand(student, teacher) == pytest.approx(forward)
    assert by_hand(student, teacher, 1.0) == pytest.approx(reverse)
    assert by_hand(student, teacher, 0.3) == pytest.approx(0.7 * forward + 0.3 * reverse)
    p, q = [2**0.5, 1, 1], [2**0.5, 1, 5**0.5]  # square roots, up to a factor
    softened = sum(a / sum(p) * math.log(a / sum(p) / b * sum(q)) for a, b in zip(p, q, strict=True))
    assert by_hand(student, teacher, temperature=2.0) == pytest.approx(4 * softened)
    everything = {1: 1 / 4, 0: 1 / 4, 3: 1 / 4, 2: 1 / 4}
    assert by_hand(student, everything) == pytest.approx((math.log(2) - math.log(2) + 0 + math.log(2)) / 4)


RAGGED = [1, 3, V - 1, 2, V, 5]
MIXES = [options(), options(1.0), options(0.3, 2.0), options(0.7, 0.5)]


def lessons(rows: int, counts: Sequence[int], mixes: Sequence[Mapping[str, float]] = MIXES) -> list[tuple[TopTokens, Mapping[str, float]]]:
    """Random teachers with so many listed tokens each, and options, in turn."""
    torch.manual_seed(1)
    expected = (2 * torch.randn(rows, V, dtype=torch.float64)).log_softmax(-1)
    return [(listing(logp, counts[i % len(counts)]), mixes[i % len(mixes)]) for i, logp in enumerate(expected)]


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("counts", [[1], [4], RAGGED])
@pytest.mark.parametrize("rows", [1, CHUNK, CHUNK + 7])
def test_is_autograds(rows: int, counts: list[int], softcap: float | None, with_bias: bool) -> None:  # promise 2
    known = lessons(rows, counts)
    hidden, head = torch.randn(rows, 6, dtype=torch.float64, requires_grad=True), torch.randn(V, 6, dtype=torch.float64)
    bias, weights = torch.randn(V, dtype=torch.float64) if with_bias else None, torch.randn(rows, dtype=torch.float64)
    logits = F.linear(hidden, head, bias)
    logits = torch.tanh(logits / softcap) * softcap if softcap else logits
    expected = torch.stack([plain(z, entry, o) for z, (entry, o) in zip(logits, known, strict=True)])
    total, each = LinearDistillation.apply(hidden, Head(head, bias, softcap), Teacher.of(known, DOUBLE), weights)
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(total, (expected * weights).sum())
    torch.testing.assert_close(*(torch.autograd.grad(3 * y, hidden)[0] for y in (total, (expected * weights).sum())))


def test_gradcheck() -> None:  # promise 2
    teacher, weights = Teacher.of(lessons(8, RAGGED), DOUBLE), torch.randn(8, dtype=torch.float64)
    head = Head(torch.randn(V, 4, dtype=torch.float64), torch.randn(V, dtype=torch.float64), 3.0)
    hidden = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: LinearDistillation.apply(x, head, teacher, weights)[0], (hidden,))


@pytest.mark.parametrize("tau", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("counts", [[V], [V, 3]])
def test_the_whole_vocabulary_is_kl_div(counts: list[int], tau: float) -> None:  # promise 3
    for r in (0.0, 1.0):
        known = lessons(10, counts, [options(r, tau)])
        whole = [i for i, (entry, _) in enumerate(known) if len(entry[0]) == V]
        logits = torch.randn(10, V, dtype=torch.float64, requires_grad=True)
        expected = torch.empty(10, V, dtype=torch.float64)
        for i in whole:
            expected[i, torch.tensor(known[i][0][0])] = torch.tensor(known[i][0][1], dtype=torch.float64)
        log_p, log_q = (expected / tau).log_softmax(-1)[whole], (logits / tau).log_softmax(-1)[whole]
        right = tau**2 * (F.kl_div(log_p, log_q, reduction="none", log_target=True) if r else F.kl_div(log_q, log_p.exp(), reduction="none")).sum(-1)
        (slope,) = torch.autograd.grad(right.sum(), logits)
        each, gradient = divergence(logits.detach(), Teacher.of(known, DOUBLE))
        torch.testing.assert_close(each[whole], right.detach())
        torch.testing.assert_close(gradient[whole], slope[whole])


@pytest.mark.parametrize("mix", MIXES, ids=str)
def test_a_rest_of_nothing(mix: Mapping[str, float]) -> None:  # promise 4
    """Logits of the student up to 200 apart, a teacher that leaves nothing to the rest, or more to its tokens than there is."""
    torch.manual_seed(0)
    logits = torch.randn(64, V) * torch.logspace(0, 2, 64)[:, None]
    mine = logits.double().log_softmax(-1).clamp_min(-80)
    own = [(listing(row, 3), mix) for row in mine]
    other = [(listing(row, 3), mix) for row in mine.flip(0)]
    above = [((ids, tuple(p + 1e-6 for p in logp)), o) for (ids, logp), o in own]
    for known in (own, other, above):
        (each, gradient), (right, slope) = (divergence(z, Teacher.of(known, logits)) for z in (logits, logits.double()))
        assert each.isfinite().all() and gradient.isfinite().all() and each.min() > -1e-5
        torch.testing.assert_close(each, right.float(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradient, slope.float(), rtol=1e-3, atol=1e-4)
    if mix["temperature"] <= 1:
        assert divergence(logits, Teacher.of(above, logits))[0].max() < 1e-4


@pytest.mark.parametrize("counts", [[1], [4], [V], RAGGED])
def test_of_itself_nothing_is_learned(counts: list[int]) -> None:  # promise 5
    torch.manual_seed(0)
    logits = 3 * torch.randn(24, V, dtype=torch.float64)
    known = [(listing(row, counts[i % len(counts)]), MIXES[i % 4]) for i, row in enumerate(logits.log_softmax(-1))]
    each, gradient = divergence(logits, Teacher.of(known, DOUBLE))
    assert each.abs().max() < 1e-14 and gradient.abs().max() < 1e-12  # the root of a rest of 1e-6, which is known to 1e-16


# ---------------------------------------------------------------- in the engine


def taught(machine: Torch, data: Sequence[Datum], top: int = 6, view: int = 0) -> list[Datum]:
    """The same sequences with the base as their teacher, which has `view` tokens more before each."""
    begins = [next(t for t, w in enumerate(d.weights) if w) for d in data]
    passages = [prose(random.Random(n), view) for n in range(len(data))]
    asked = [ScoreRequest(p + d.tokens[:n], d.tokens[n:], top=top) for p, d, n in zip(passages, data, begins, strict=True)]
    return [replace(d, teacher=((),) * n + s.top) for d, n, s in zip(data, begins, machine.score(asked), strict=True)]


def distilling(
    machine: Torch, seed: int, lengths: tuple[int, ...] = (12, 7, 20, 16, 5), top: int = 6, o: Mapping[str, float] | None = None, **more: Any
) -> TrainJob:
    """Every second sequence has a teacher, and of its tokens every fifth has none; weights of all sizes."""
    made, rng = job(seed, lengths, **more), random.Random(seed)
    data = [replace(d, weights=tuple(w * rng.choice((0.5, 1.0, 2.0)) for w in d.weights)) for d in made.data]
    with_teacher = iter(taught(machine, data[::2], top, view=8))
    data[::2] = [replace(d, teacher=tuple(() if t % 5 == 4 else known for t, known in enumerate(d.teacher))) for d in with_teacher]
    return replace(made, data=tuple(data), loss="distill", loss_options=o or {})


def several(machine: Torch) -> list[TrainJob]:
    return [
        distilling(machine, 0),
        distilling(machine, 1, (9, 30, 14), top=VOCABULARY, epochs=2, batch_size=2, o={"reverse": 1.0}),
        distilling(machine, 2, (25, 6), top=1, lora=LoraShape(2, 4.0), o={"reverse": 0.4, "temperature": 2.0}, optimizer=Optimizer(clip=0.0)),
        distilling(machine, 3, (8, 8, 40, 3), batch_size=4, epochs=3, o={"temperature": 0.5}, optimizer=Optimizer(schedule="cosine")),
    ]


def test_alone_equals_together() -> None:  # promise 6
    machine = engine("llama")
    jobs = several(machine)
    alone = {id(one): machine.train([one])[0] for one in jobs}
    everyone = [*jobs, *REWARDED[:2], REWARDED[4], job(0), job(5, (50, 9, 1, 18), batch_size=4, epochs=2)]
    for seed, budget in enumerate((4096, 64, 30, 1)):
        machine.budget_tokens = budget
        company = random.Random(seed).sample(everyone, len(everyone))
        for one, found in zip(company, machine.train(company), strict=True):
            if id(one) in alone:
                expected = alone[id(one)]
                assert distance(flat(machine, found), flat(machine, expected)) <= 1e-9, (one.seed, budget)
                assert found.losses == pytest.approx(expected.losses, rel=1e-9) and found.tokens == expected.tokens
                assert found.metrics.keys() == {"kl"} and len(found.metrics["kl"]) == len(found.losses)
                assert found.metrics["kl"] == pytest.approx(expected.metrics["kl"], rel=1e-9, abs=1e-12)


def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    fast, slow = engine("llama"), slow_llama(monkeypatch)
    jobs = several(fast)
    for a, b in zip(slow.train(jobs), fast.train(jobs), strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-9) and distance(flat(slow, a), flat(fast, b)) <= 1e-6


@pytest.mark.parametrize("place", range(4))
def test_training_is_the_textbook_loop(place: int) -> None:  # promise 7
    machine = engine("llama")
    one = several(machine)[place]
    [trained] = machine.train([one])
    model = fresh_peft(reference("llama"), one.lora)
    down, generator = initial(machine, one)
    begin(model, down)
    o, learned = one.optimizer, [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=o.lr, betas=(o.beta1, o.beta2), eps=o.eps, weight_decay=0.0)
    steps, losses, divergences = one.epochs * math.ceil(len(one.data) / one.batch_size), [], []
    for _ in range(one.epochs):
        for chosen in torch.randperm(len(one.data), generator=generator).split(one.batch_size):
            loss, kl = textbook_loss(model, [one.data[i] for i in chosen.tolist()], options(**one.loss_options))
            optimizer.zero_grad()
            loss.backward()
            if o.clip:
                torch.nn.utils.clip_grad_norm_(learned, o.clip)
            left = 1 - len(losses) / steps
            for group in optimizer.param_groups:
                group["lr"] = o.lr * (left if o.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - left))))
            optimizer.step()
            losses.append(loss.item())
            divergences.append(kl.item())
    assert trained.losses == pytest.approx(losses, rel=1e-6) and trained.metrics["kl"] == pytest.approx(divergences, rel=1e-6, abs=1e-9)
    assert distance(*updates(machine, trained, model)) <= 1e-6


def textbook_loss(model: Any, batch: Sequence[Datum], o: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    """The loss of a step, and the part of it that is divergence, a token at a time."""
    entropy, kl, mass = DOUBLE, DOUBLE, sum(sum(d.weights[1:]) for d in batch)
    for d in batch:
        logits = model(torch.tensor([d.tokens])).logits[0]
        for t, (token, weight) in enumerate(zip(d.tokens, d.weights, strict=True)):
            known = d.teacher[t] if d.teacher else ()
            if t and weight and known:
                kl = kl + weight / mass * plain(logits[t - 1], known, o)
            elif t and weight:
                entropy = entropy + weight / mass * F.cross_entropy(logits[t - 1], torch.tensor(token))
    return entropy + kl, kl


def test_of_itself_an_adapter_stays_at_zero() -> None:  # promise 5
    """AdamW divides a gradient by its own size; with a large eps, a gradient of nothing is a step of nothing."""
    machine = engine("llama")
    made = job(7, optimizer=Optimizer(eps=1e-4))
    [itself, other] = machine.train([replace(made, data=tuple(taught(machine, made.data, view=view)), loss="distill") for view in (0, 8)])
    assert max(map(abs, itself.losses)) < 1e-13 < 1e-3 < min(other.losses)
    ups = []
    for trained in (itself, other):
        assert trained.adapter
        ups.append(torch.cat([up.flatten() for up in machine._adapters[trained.adapter.id].up if up is not None]).norm())
    assert ups[0] < 1e-9 * ups[1]


LINEAR = Optimizer(lr=1e6, eps=1e6, schedule="constant", clip=0.0)
"""A step of AdamW that is, but for 1e-6 of it, the gradient with its sign turned."""


def test_mixed_is_the_weighted_mean() -> None:  # promise 8
    machine = engine("llama")
    made = job(8, (12, 7, 20), batch_size=9, optimizer=LINEAR)
    facts = [replace(d, weights=tuple(3 * w for w in d.weights)) for d in made.data]
    everyday = taught(machine, job(9, (15, 6)).data, view=8)
    parts = [tuple(facts), tuple(everyday), tuple(everyday + facts)]
    [by_entropy, by_teacher, mixed] = machine.train([replace(made, data=data, loss="distill") for data in parts])
    share = [sum(sum(d.weights[1:]) for d in data) for data in parts]
    a, b = share[0] / share[2], share[1] / share[2]
    assert mixed.losses[0] == pytest.approx(a * by_entropy.losses[0] + b * by_teacher.losses[0], rel=1e-12)
    assert mixed.metrics["kl"][0] == pytest.approx(b * by_teacher.losses[0], rel=1e-12)
    assert by_entropy.metrics["kl"] == (0.0,) and by_teacher.metrics["kl"] == by_teacher.losses
    ups = []
    for trained in (by_entropy, by_teacher, mixed):
        assert trained.adapter
        ups.append(torch.cat([up.flatten() for up in machine._adapters[trained.adapter.id].up if up is not None]))
    assert distance(ups[2], a * ups[0] + b * ups[1]) < 1e-5 and distance(ups[2], ups[0]) > 0.01 < distance(ups[2], ups[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_without_a_teacher_is_cross_entropy(dtype: torch.dtype) -> None:  # promise 9
    machine = engine("llama", dtype)
    jobs = [job(0), job(1, (9, 30, 14), epochs=2, batch_size=2)]
    expected = machine.train(jobs)
    silent = [replace(one, data=tuple(replace(d, teacher=((),) * len(d.tokens)) for d in one.data)) for one in jobs]
    for data in (jobs, silent):
        for mine, theirs in zip(machine.train([replace(one, loss="distill") for one in data]), expected, strict=True):
            assert mine.losses == theirs.losses and torch.equal(flat(machine, mine), flat(machine, theirs))
            assert mine.metrics == {"kl": (0.0,) * len(mine.losses)}
    if dtype == torch.float64:
        for mine, theirs in zip(machine.train([*jobs, *several(machine)]), expected, strict=False):
            assert distance(flat(machine, mine), flat(machine, theirs)) <= 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_fails_alone(dtype: torch.dtype) -> None:  # promise 10
    machine = engine("llama", dtype)
    first, bad, *rest = several(machine)
    once, twice = replace(bad, epochs=1, batch_size=3), replace(bad, epochs=2, batch_size=3)  # failing, they leave when they would have otherwise
    nan = [tuple((entry[0], (math.nan,) * len(entry[0])) if entry else () for entry in d.teacher) for d in bad.data]
    spoiled = replace(once, data=tuple(replace(d, teacher=t) for d, t in zip(bad.data, nan, strict=True)))
    fast = replace(twice, optimizer=Optimizer(lr=1e12, clip=0.0))
    for wrong, healthy, words in ((spoiled, once, "diverged at step 1 of 1: loss nan"), (fast, twice, "diverged at step 2 of 2: loss")):
        one, failed, *others = machine.train([first, wrong, *rest, job(0), REWARDED[0]])
        assert failed.adapter is None and failed.failure is not None and failed.failure.startswith(words)
        other_one, _, *others_then = machine.train([first, healthy, *rest, job(0), REWARDED[0]])
        for mine, theirs in zip([one, *others], [other_one, *others_then], strict=True):
            assert mine.losses == theirs.losses and torch.equal(flat(machine, mine), flat(machine, theirs))


def test_states_that_overflowed_have_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 10
    """An RMSNorm turns them into zeros, of which any head makes finite logits."""
    machine = engine("llama")
    forward, jobs = machine.base.forward, [job(0), several(machine)[0]]
    monkeypatch.setattr(machine.base, "forward", lambda *inputs: 0 * forward(*inputs))
    assert all((t.failure or "").startswith("diverged at step 1") and math.isnan(t.losses[0]) for t in machine.train(jobs))
    assert math.isnan(machine.train([jobs[1]])[0].metrics["kl"][0])


ENTRY: TopTokens = ((7, 5), (-1.0, -2.0))


def with_teacher(*teacher: TopTokens | tuple[()], **loss_options: float) -> TrainJob:
    return TrainJob((Datum((5, 6, 7), (0.0, 1.0, 1.0), teacher=teacher),), loss="distill", loss_options=loss_options)


WRONG: list[tuple[TrainJob, type[Exception], str]] = [
    (with_teacher((), ENTRY, ENTRY, reverse=1.5), ConfigError, "reverse of the loss distill is 1.5; it lies between 0 and 1"),
    (with_teacher((), ENTRY, ENTRY, temperature=0.0), ConfigError, "temperature of the loss distill"),
    (with_teacher((), ENTRY, ENTRY, temperature=math.nan), ConfigError, "temperature of the loss distill"),
    (with_teacher((), ENTRY, ENTRY, kl=1.0), ConfigError, "has no option 'kl'"),
    (with_teacher(ENTRY, ENTRY), EngineError, "3 tokens has a teacher for 2"),
    (with_teacher((), ((7,), (-1.0, -2.0))), EngineError, "3 tokens has a teacher for 2"),
    (with_teacher((), ENTRY, ((7,), (-1.0, -2.0))), EngineError, "1 and 2"),
    (with_teacher((), ENTRY, ((7, 7), (-1.0, -2.0))), EngineError, "each once"),
    (with_teacher((), ENTRY, ((), ())), EngineError, "lists tokens"),
    (with_teacher((), ENTRY, ((7, 5), (0.6, 0.3))), EngineError, "at most 0"),
    (with_teacher((), ENTRY, ((7, 5), (-0.1, -math.inf))), EngineError, "finite"),
]


@pytest.mark.parametrize(("wrong", "kind", "words"), WRONG)
def test_wrong_teachers_are_refused(wrong: TrainJob, kind: type[Exception], words: str) -> None:  # promise 11
    right, machines = with_teacher((), ENTRY, ENTRY), (engine("llama"), Fake())
    for machine in machines:
        with pytest.raises(kind, match=words):
            machine.train([right, wrong])
        assert not machine._adapters
        assert [len(trained.metrics["kl"]) for trained in machine.train([right])] == [1]


@pytest.mark.parametrize("mix", [options(), options(1.0), options(0.5, 2.0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_context_distillation(dtype: torch.dtype, mix: Mapping[str, float]) -> None:  # promise 12
    machine, rng = engine("llama", dtype), random.Random(0)
    passage, question = prose(rng, 30), prose(rng, 6)
    answers = [prose(rng, 8) for _ in range(4)]

    def expected(scores: Sequence[Score]) -> list[dict[int, float]]:
        return [dict(zip(ids, map(math.exp, logprobs), strict=True)) for s in scores for ids, logprobs in s.top]

    teacher = machine.score([ScoreRequest(passage + question, a, top=8) for a in answers])
    data = tuple(Datum(question + a, (0.0,) * 6 + (1.0,) * 8, teacher=((),) * 6 + s.top) for a, s in zip(answers, teacher, strict=True))
    one = TrainJob(data, LoraShape(8, 16.0), Optimizer(lr=0.02), epochs=30, batch_size=4, loss="distill", loss_options=mix)
    [trained] = machine.train([one])
    assert trained.losses[-1] < 0.2 * trained.losses[0]
    off = []
    for who in (None, trained.adapter):
        found = expected(machine.score([ScoreRequest(question, a, who, top=VOCABULARY) for a in answers]))
        off.append(sum(p * math.log(p / mine[i]) for row, mine in zip(expected(teacher), found, strict=True) for i, p in row.items()))
    assert abs(off[1]) < 0.5 * abs(off[0])
