"""Losses that learn from rewards: numbers worked by hand, TRL on the same log-probabilities, and the same gradients in any company.

1. Each loss and each metric on two or three tokens, worked by hand; the clip cuts only on the side where it should.
2. LinearLogprobs is log_softmax of the logits: values and gradients, with and without a soft cap, for more rows than a chunk.
3. Loss and gradient are TRL's on the same log-probabilities: `grpo` (three normalisations, with KL), `ppo` (TRL's clipped token mean), `reinforce`
   (the gradient of RLOO on policy), `dpo`.
4. A job with any loss, alone = together with jobs of other losses, whatever the passes (fp64); so are its losses and metrics. So it is with a
   model that goes the slow way.
5. A job with any loss is the textbook loop around the same pure function with PEFT, clipping and AdamW.
6. Wrong options, missing log-probabilities and groups that do not divide the data are refused before anything is trained.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.unit.engine.by_peft import begin, fresh_peft, initial, updates
from tests.unit.engine.test_architectures import slow_llama
from tests.unit.engine.tiny_engine import LoraShape, distance, engine, flat, job, plain_logprobs, prose, reference
from torch import Tensor

from selfedit.engine.losses import LOSSES
from selfedit.engine.torch.cross_entropy import CHUNK, Head
from selfedit.engine.torch.policy_losses import FUNCTIONS, Batch, LinearLogprobs, policy_loss
from selfedit.errors import ConfigError, EngineError
from selfedit.types import Datum, Optimizer, TrainJob

# ---------------------------------------------------------------- by hand


def known(advantage: float, old: tuple[float, ...], ref: tuple[float, ...] | None = None) -> Datum:
    """A prompt of one token and then learned tokens whose log-probabilities under the old policy and the reference are given."""
    n = len(old)
    return Datum((5,) * (n + 1), (0.0,) + (1.0,) * n, (0.0, *old), (0.0, *(ref or old)), advantage)


def value(name: str, data: Sequence[Datum], logp: list[float], groups: tuple[int, ...] = (), **options: float) -> tuple[float, dict[str, float]]:
    one = TrainJob(tuple(data), loss=name, loss_options=options, groups=groups)
    parts = iter(data)
    batch = Batch.of(one, [[next(parts) for _ in range(n)] for n in groups or [1] * len(data)])
    loss, metrics = policy_loss(one, torch.tensor(logp, dtype=torch.float64), batch, range(len(data)))
    return loss.item(), {k: v.item() for k, v in metrics.items()}


LOG2 = math.log(2)


def test_reinforce_by_hand() -> None:  # promise 1
    """Mean over two self-edits of -A Σ log p: (-2 · (-1 - 3) + 1 · (-2)) / 2 = 3. The reference is twice as sure of token 1: k3 = 2 - 1 - log 2."""
    data = [known(2.0, (0.0, 0.0), (-1 + LOG2, -3.0)), known(-1.0, (0.0,), (-2.0,))]
    loss, metrics = value("reinforce", data, [-1.0, -3.0, -2.0])
    assert loss == pytest.approx(3.0) and metrics == {"kl": pytest.approx((1 - LOG2) / 3)}
    assert value("reinforce", data, [-1.0, -3.0, -2.0], kl=0.5)[0] == pytest.approx(3.0 + 0.5 * (1 - LOG2) / 2)


def test_the_turns_of_a_self_edit_are_one_action() -> None:  # promise 1
    data = [known(2.0, (-1.0,)), known(2.0, (-3.0,)), known(-1.0, (-2.0,))]
    assert value("reinforce", data, [-1.0, -3.0, -2.0], groups=(2, 1))[0] == pytest.approx(3.0)
    assert value("reinforce", data, [-1.0, -3.0, -2.0])[0] == pytest.approx(2.0)


CUT = [(2.0, 1.0, -1.2, 1), (2.0, -1.0, 2.0, 0), (0.5, 1.0, -0.5, 0), (0.5, -1.0, 0.8, 1), (1.1, 1.0, -1.1, 0)]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "cut"), CUT)
def test_the_clip_by_hand(ratio: float, advantage: float, loss: float, cut: int) -> None:  # promise 1
    found, metrics = value("ppo", [known(advantage, (-1.0,))], [-1.0 + math.log(ratio)])
    assert found == pytest.approx(loss) and metrics["clip_fraction"] == cut and metrics["ratio"] == pytest.approx(ratio)


def test_what_ppo_and_grpo_divide_by() -> None:  # promise 1
    """On policy the surrogate is -A a token. Advantages 1 on one token, -2 on three; Dr. GRPO divides by 2 self-edits of 4 tokens."""
    data, logp = [known(1.0, (-1.0,)), known(-2.0, (-1.0, -1.0, -1.0))], [-1.0] * 4
    assert value("ppo", data, logp)[0] == pytest.approx((-1 + 6) / 4)
    assert value("grpo", data, logp)[0] == pytest.approx((-1 + 2) / 2)
    assert value("grpo", data, logp, token_mean=1.0)[0] == pytest.approx((-1 + 6) / 4)
    assert value("grpo", data, logp, max_tokens=4.0)[0] == pytest.approx((-1 + 6) / (2 * 4))


def test_a_constant_is_the_same_for_every_action() -> None:  # promise 1
    """Two self-edits, of two turns and of one; turns have at most 4 tokens, so both sums are divided by 2 · 4."""
    data = [known(1.0, (-1.0,)), known(1.0, (-1.0, -1.0)), known(-2.0, (-1.0,))]
    assert value("grpo", data, [-1.0] * 4, groups=(2, 1), max_tokens=4.0)[0] == pytest.approx((-3 + 2) / (2 * 2 * 4))


def test_every_loss_is_recorded_once() -> None:  # promise 1
    """The record names what the function gives, and every loss has a function, but for cross-entropy and distillation."""
    assert set(LOSSES) == {*FUNCTIONS, "cross_entropy", "distill"}
    data = [known(1.0, (-1.0,)), known(-1.0, (-2.0,))]
    for name in FUNCTIONS:
        _, metrics = value(name, data, [-1.0, -2.0], groups=(2,))
        assert tuple(metrics) == LOSSES[name].metrics


def test_the_kl_of_grpo_by_hand() -> None:  # promise 1
    loss, metrics = value("grpo", [known(0.0, (-1.0,), (-1.0 - LOG2,))], [-1.0], kl=0.1)
    assert metrics["kl"] == pytest.approx(0.5 - 1 + LOG2) and loss == pytest.approx(0.1 * (LOG2 - 0.5))


def test_dpo_by_hand() -> None:  # promise 1
    """β = 0.5; chosen: log-ratios 0.6 + 0.4, rejected: -1. Margin 0.5 · (1 + 1) = 1; a second pair has margin -0.5."""
    data = [known(1.0, (-1.0, -1.0)), known(-1.0, (-1.0,)), known(1.0, (-2.0,)), known(-1.0, (-2.0,))]
    loss, metrics = value("dpo", data, [-0.4, -0.6, -2.0, -2.0, -1.0], groups=(2, 2), beta=0.5)
    assert loss == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(0.5))) / 2)
    assert metrics["margin"] == pytest.approx(0.25) and metrics["accuracy"] == 0.5


# ---------------------------------------------------------------- log-probabilities


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("rows", [1, CHUNK, 2 * CHUNK + 5])
def test_logprobs_and_their_gradient(rows: int, softcap: float | None) -> None:  # promise 2
    torch.manual_seed(0)
    hidden, head = torch.randn(rows, 6, dtype=torch.float64, requires_grad=True), torch.randn(11, 6, dtype=torch.float64)
    bias = torch.randn(11, dtype=torch.float64)
    targets, up = torch.randint(11, (rows,)), torch.randn(rows, dtype=torch.float64)
    logits = hidden @ head.T + bias
    expected = (torch.tanh(logits / softcap) * softcap if softcap else logits).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    mine = LinearLogprobs.apply(hidden, Head(head, bias, softcap), targets)
    torch.testing.assert_close(mine, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y, hidden, up)[0] for y in (mine, expected)))


# ---------------------------------------------------------------- TRL


def completions(seed: int = 0) -> tuple[list[Datum], list[float], dict[str, Tensor]]:
    """Six completions of different lengths: as data with the current log-probabilities, and padded as TRL has them."""
    rng = random.Random(seed)
    lengths, advantages = [3, 7, 1, 5, 4, 6], [1.2, -0.7, 0.4, -1.5, 0.9, -0.3]
    now = [[rng.uniform(-3, -0.1) for _ in range(n)] for n in lengths]
    data = [
        known(a, tuple(x + rng.gauss(0, 0.3) for x in xs), tuple(x + rng.gauss(0, 0.5) for x in xs)) for a, xs in zip(advantages, now, strict=True)
    ]

    def padded(rows: Sequence[Sequence[float]]) -> Tensor:
        return torch.tensor([[*row] + [0.0] * (7 - len(row)) for row in rows], dtype=torch.float64)

    inputs = {
        "now": padded(now),
        "mask": padded([[1.0] * n for n in lengths]),
        "old": padded([d.old_logprobs[1:] for d in data]),
        "ref": padded([d.reference_logprobs[1:] for d in data]),
        "advantages": torch.tensor(advantages, dtype=torch.float64),
    }
    return data, [x for xs in now for x in xs], inputs


class Recorded(dict[str, list[float]]):
    def __missing__(self, key: str) -> list[float]:
        return self.setdefault(key, [])


def trl_self(logp: Tensor, **settings: Any) -> Any:
    """What TRL's loss functions ask of their trainer: here the log-probabilities come from us, there is no model and one process."""
    accelerator = SimpleNamespace(
        num_processes=1, device="cpu", reduce=lambda x, reduction="sum": x, gather=lambda x: x, gather_for_metrics=lambda x: x
    )
    return SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, torch.zeros_like(logp), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level="token", use_vllm=False,
        model=SimpleNamespace(training=True), accelerator=accelerator, current_gradient_accumulation_steps=1, _entropy_bonus_enabled=False,
        _metrics={"train": Recorded(), "eval": Recorded()}, epsilon_low=0.2, epsilon_high=0.2, max_completion_length=9,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1), **settings,
    )  # fmt: skip


def mine(
    name: str, data: Sequence[Datum], logp: list[float], groups: tuple[int, ...] = (), **options: float
) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """Loss, gradient of the log-probabilities, metrics."""
    one = TrainJob(tuple(data), loss=name, loss_options=options, groups=groups)
    parts = iter(data)
    leaf = torch.tensor(logp, dtype=torch.float64, requires_grad=True)
    batch = Batch.of(one, [[next(parts) for _ in range(n)] for n in groups or [1] * len(data)])
    loss, metrics = policy_loss(one, leaf, batch, range(len(data)))
    return loss.detach(), torch.autograd.grad(loss, leaf)[0], metrics


TRL_GRPO: list[tuple[str, dict[str, float], str]] = [
    ("grpo", {}, "grpo"),
    ("grpo", {"kl": 0.3}, "grpo"),
    ("grpo", {"kl": 0.1, "max_tokens": 9.0}, "dr_grpo"),
    ("grpo", {"kl": 0.1, "token_mean": 1.0}, "dapo"),
    ("ppo", {"kl": 0.2}, "bnpo"),
]


@pytest.mark.parametrize(("name", "options", "theirs"), TRL_GRPO)
def test_grpo_and_ppo_are_trls(name: str, options: dict[str, float], theirs: str) -> None:  # promise 3
    from trl import GRPOTrainer

    data, logp, x = completions()
    leaf, mask, beta = x["now"].clone().requires_grad_(), x["mask"], options.get("kl", 0.0)
    trainer = trl_self(leaf, loss_type=theirs, beta=beta)
    ids = torch.zeros(6, 7, dtype=torch.long)
    inputs = {"prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids, "completion_mask": mask, "advantages": x["advantages"]}
    inputs |= {"old_per_token_logps": x["old"], "ref_per_token_logps": x["ref"], "num_items_in_batch": mask.sum()}
    expected = GRPOTrainer._compute_loss(trainer, None, inputs)
    (gradient,) = torch.autograd.grad(expected, leaf)
    loss, found, metrics = mine(name, data, logp, **options)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(found, gradient[mask.bool()])
    recorded = trainer._metrics["train"]
    assert metrics["clip_fraction"].item() == pytest.approx(recorded["clip_ratio/region_mean"][0]) and metrics["clip_fraction"] > 0
    if beta:
        assert metrics["kl"].item() == pytest.approx(recorded["kl"][0])


def test_reinforce_has_the_gradient_of_trls_rloo() -> None:  # promise 3
    from trl import RLOOTrainer

    data, logp, x = completions()
    leaf, mask = x["now"].clone().requires_grad_(), x["mask"]
    ids = torch.zeros(6, 7, dtype=torch.long)
    inputs = {"prompt_ids": ids[:, :1], "prompt_mask": ids[:, :1], "completion_ids": ids, "completion_mask": mask, "advantages": x["advantages"]}
    loss = RLOOTrainer._compute_loss(trl_self(leaf), None, inputs | {"old_logps": (x["now"] * mask).sum(1)})
    torch.testing.assert_close(mine("reinforce", data, logp)[1], torch.autograd.grad(loss, leaf)[0][mask.bool()])


def test_dpo_is_trls() -> None:  # promise 3
    from trl import DPOTrainer

    data, logp, x = completions()
    sides = [replace(d, advantage=1.0 if i % 2 == 0 else -1.0) for i, d in enumerate(data)]
    order = [0, 2, 4, 1, 3, 5]  # TRL has all chosen ones first
    leaf = x["now"][order].clone().requires_grad_()
    mask, reference_ = x["mask"][order], (x["ref"] * x["mask"]).sum(1)[order]
    whole = F.pad(mask, (1, 0))
    trainer = trl_self(leaf, ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=["sigmoid"], loss_weights=[1.0],
                       beta=0.1, use_weighting=False, _total_train_tokens=0, _tp_size=1)  # fmt: skip
    inputs = {"input_ids": torch.zeros(6, 8, dtype=torch.long), "completion_mask": whole, "attention_mask": whole}
    inputs |= {"ref_chosen_logps": reference_[:3], "ref_rejected_logps": reference_[3:]}
    outputs = SimpleNamespace(log_probs=leaf, entropy=torch.zeros(6, 7), is_top1=torch.zeros(6, 7).bool(), mean_logits=torch.zeros(6, 7))
    expected = DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, return_outputs=False)
    (gradient,) = torch.autograd.grad(expected, leaf)
    loss, found, metrics = mine("dpo", sides, logp, groups=(2, 2, 2), beta=0.1)
    torch.testing.assert_close(loss, expected.detach())
    back = torch.zeros_like(gradient)
    back[order] = gradient
    torch.testing.assert_close(found, back[x["mask"].bool()])
    recorded = trainer._metrics["train"]
    assert metrics["accuracy"].item() == pytest.approx(recorded["rewards/accuracies"][0])
    assert metrics["margin"].item() == pytest.approx(recorded["rewards/margins"][0])


# ---------------------------------------------------------------- in the engine


def rewarded(
    seed: int, name: str, lengths: Sequence[int], groups: tuple[int, ...] = (), options: Mapping[str, float] | None = None, **more: Any
) -> TrainJob:
    """Random sequences with log-probabilities near a tiny model's own; advantages alternate."""
    rng, data = random.Random(seed), []
    for place, n in enumerate(lengths):
        prompt = max(1, n // 4)
        near = [(0.0,) * prompt + tuple(-math.log(280) + rng.gauss(0, 0.3) for _ in range(n - prompt)) for _ in range(2)]
        data.append(Datum(prose(rng, n), (0.0,) * prompt + (1.0,) * (n - prompt), near[0], near[1], (-1) ** place * rng.uniform(0.5, 1.5)))
    defaults: dict[str, Any] = {"lora": LoraShape(4, 8.0), "optimizer": Optimizer(lr=2e-3), "seed": seed, "batch_size": 2}
    return TrainJob(tuple(data), loss=name, loss_options=options or {}, groups=groups, **defaults | more)


REWARDED = [
    rewarded(0, "reinforce", (12, 7, 20, 16, 5), options={"kl": 0.1}),
    rewarded(1, "ppo", (9, 14, 22, 6), groups=(2, 1, 1), options={"kl": 0.2}, epochs=3),
    rewarded(2, "grpo", (12, 30, 7, 20), options={"kl": 0.05}, epochs=2, lora=LoraShape(2, 4.0)),
    rewarded(3, "grpo", (18, 5, 11), groups=(1, 2), options={"max_tokens": 20.0}, batch_size=3),
    rewarded(4, "dpo", (12, 9, 15, 7, 21, 10), groups=(2, 2, 2), epochs=2),
    rewarded(5, "dpo", (8, 9, 6, 7), groups=(4,), options={"beta": 0.5}, optimizer=Optimizer(lr=2e-3, clip=0.0)),
]


def companies() -> Iterator[tuple[list[TrainJob], int]]:
    everyone = [*REWARDED, job(0), job(5, (50, 9, 1, 18), batch_size=4, epochs=2)]
    for seed, budget in enumerate((4096, 64, 30, 1)):
        yield random.Random(seed).sample(everyone, len(everyone)), budget


def test_alone_equals_together() -> None:  # promise 4
    machine = engine("llama")
    machine.budget_tokens = 4096
    alone = {id(one): machine.train([one])[0] for one in REWARDED}
    for company, budget in companies():
        machine.budget_tokens = budget
        for one, found in zip(company, machine.train(company), strict=True):
            if one.loss != "cross_entropy":
                expected = alone[id(one)]
                assert distance(flat(machine, found), flat(machine, expected)) <= 1e-9, (one.loss, budget)
                assert found.losses == pytest.approx(expected.losses, rel=1e-9) and found.tokens == expected.tokens
                assert found.metrics.keys() == expected.metrics.keys()
                for name, values in found.metrics.items():
                    assert len(values) == len(found.losses) and values == pytest.approx(expected.metrics[name], rel=1e-9, abs=1e-12)


def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    fast, slow = engine("llama"), slow_llama(monkeypatch)
    for a, b in zip(slow.train(REWARDED), fast.train(REWARDED), strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-9) and distance(flat(slow, a), flat(fast, b)) <= 1e-6
        assert all(values == pytest.approx(b.metrics[name], rel=1e-6, abs=1e-9) for name, values in a.metrics.items())


@pytest.mark.parametrize("one", REWARDED, ids=[f"{j.loss}-{j.seed}" for j in REWARDED])
def test_training_is_the_textbook_loop(one: TrainJob) -> None:  # promise 5
    machine = engine("llama")
    [trained] = machine.train([one])
    model = fresh_peft(reference("llama"), one.lora)
    down, generator = initial(machine, one)
    begin(model, down)
    o, learned = one.optimizer, [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=o.lr, betas=(o.beta1, o.beta2), eps=o.eps, weight_decay=0.0)
    data = iter(one.data)
    actions = [[next(data) for _ in range(n)] for n in one.groups or [1] * len(one.data)]
    steps, losses = one.epochs * math.ceil(len(actions) / one.batch_size), []
    for _ in range(one.epochs):
        for chosen in torch.randperm(len(actions), generator=generator).split(one.batch_size):
            batch = Batch.of(one, [actions[i] for i in chosen.tolist()])
            logp = torch.cat([_learned_logprobs(model, d) for d in batch.data])
            loss, _ = policy_loss(one, logp, batch, range(len(batch.data)))
            optimizer.zero_grad()
            loss.backward()
            if o.clip:
                torch.nn.utils.clip_grad_norm_(learned, o.clip)
            for group in optimizer.param_groups:
                group["lr"] = o.lr * (steps - len(losses)) / steps
            optimizer.step()
            losses.append(loss.item())
    assert trained.losses == pytest.approx(losses, rel=1e-6)
    assert distance(*updates(machine, trained, model)) <= 1e-6


def _learned_logprobs(model: Any, d: Datum) -> Tensor:
    logits = model(torch.tensor([d.tokens])).logits[0, :-1].log_softmax(-1)
    each = logits.gather(1, torch.tensor(d.tokens[1:])[:, None]).squeeze(1)
    return each[torch.tensor(d.weights[1:]) > 0]


def test_on_policy_nothing_is_cut_and_nothing_diverges() -> None:
    """Old and reference log-probabilities from the engine's own `score`: the first step has ratio 1, no KL, and the loss -mean(A)."""
    machine = engine("llama")
    rng, data = random.Random(0), []
    for advantage in (1.5, -0.5):
        prompt, completion = prose(rng, 5), prose(rng, 8)
        scored = (0.0,) * 5 + tuple(plain_logprobs(reference("llama"), prompt, completion).tolist())
        data.append(Datum(prompt + completion, (0.0,) * 5 + (1.0,) * 8, scored, scored, advantage))
    [trained] = machine.train([TrainJob(tuple(data), loss="grpo", loss_options={"kl": 1.0}, batch_size=2)])
    assert trained.losses[0] == pytest.approx(-0.5) and trained.metrics["ratio"][0] == pytest.approx(1.0)
    assert trained.metrics["kl"][0] == pytest.approx(0.0, abs=1e-12) and trained.metrics["clip_fraction"] == (0.0,)


WRONG: list[tuple[TrainJob, type[Exception], str]] = [
    (replace(REWARDED[0], loss_options={"beta": 1.0}), ConfigError, "has no option 'beta'"),
    (replace(REWARDED[0], loss="trpo"), ConfigError, "there is no loss 'trpo'"),
    (replace(REWARDED[1], groups=(2, 1)), EngineError, "do not divide"),
    (replace(job(0), loss="dpo"), EngineError, "reference_logprobs"),
    (replace(REWARDED[2], data=tuple(replace(d, old_logprobs=()) for d in REWARDED[2].data)), EngineError, "old_logprobs"),
]


@pytest.mark.parametrize(("wrong", "kind", "words"), WRONG)
def test_wrong_jobs_are_refused(wrong: TrainJob, kind: type[Exception], words: str) -> None:  # promise 6
    machine = engine("llama")
    with pytest.raises(kind, match=words):
        machine.train([REWARDED[0], wrong])
    assert not machine._adapters
