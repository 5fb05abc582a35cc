"""Every algorithm learns: a tiny random model, the real engine, and a task whose best is known.

The reward of a completion is the share of its tokens that are in a set of a quarter of the vocabulary: about 0.25 at first, 1 at best. Over three
seeds of model, prompts and sampling, the reward on prompts that were never learned from rises, and the paired 95 % interval excludes zero.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from tests.unit.engine import tiny_engine

from selfedit import parts
from selfedit.algorithms import Algorithm
from selfedit.algorithms.base import PolicyGradient
from selfedit.engine.kinds import TorchSettings
from selfedit.engine.torch.engine import Torch
from selfedit.models import load, tiny
from selfedit.study import statistics as stats
from selfedit.types import (
    Adapter,
    Candidate,
    Completion,
    Datum,
    LoraShape,
    Optimizer,
    Proposal,
    Reward,
    SampleRequest,
    Sampling,
    ScoreRequest,
    Selected,
    SelfEdit,
    Tokens,
    TrainJob,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS, SAMPLES, LENGTH, ROUNDS = 16, 8, 8, 10
OUTER = {"lora": LoraShape(8, 16.0), "optimizer": Optimizer(lr=2e-2, schedule="constant"), "batch_size": 16}
MORE: dict[str, dict[str, int]] = {"dpo": {"epochs": 4}}
TARGET = range(5, 5 + 70)


def opened(folder: Path, seed: int) -> Torch:
    model, tokenizer = load(tiny("llama", folder / str(seed), vocab_size=tiny_engine.VOCABULARY, hidden=64, seed=seed), torch.float32)
    return Torch(model, tokenizer, TorchSettings())


def prompts(seed: int) -> list[Tokens]:
    rng = random.Random(seed)
    return [tiny_engine.prose(rng, 6) for _ in range(PROMPTS)]


def write(machine: Torch, asked: list[Tokens], seed: int) -> list[Completion]:
    seeds = iter(range(10_000 * seed, 10_000 * seed + len(asked) * SAMPLES))
    return machine.sample([SampleRequest(p, Sampling(LENGTH, temperature=1.0, seed=next(seeds))) for p in asked for _ in range(SAMPLES)])


def reward(completion: Completion) -> float:
    return sum(token in TARGET for token in completion.tokens) / LENGTH


def update(machine: Torch, algorithm: Algorithm, asked: list[Tokens], seed: int, merged: list[Adapter]) -> None:
    """One round: write, select, train, merge; the reference is the untrained model."""
    written = write(machine, asked, seed)
    candidates = [
        Candidate(Proposal(str(i // SAMPLES), 0, i % SAMPLES, 0, SelfEdit("", (), ())), Reward(reward(c) if c.tokens else None, "share"))
        for i, c in enumerate(written)
    ]
    kept, settings = algorithm.select(candidates), algorithm.settings
    if not kept:  # all are as good as can be
        return
    loss, options = "cross_entropy", dict[str, float]()
    if isinstance(algorithm, PolicyGradient):
        loss, options = algorithm.loss, algorithm.options(algorithm.kl(None, None), LENGTH)
    requests = [ScoreRequest(asked[int(one.task_id)], written[int(one.task_id) * SAMPLES + one.index].tokens) for one in kept]
    old = machine.score(requests)
    machine.reset()
    first = machine.score(requests)
    for adapter in merged:
        machine.merge(adapter)
    data = tuple(datum(r, a.logprobs, b.logprobs, one) for r, a, b, one in zip(requests, old, first, kept, strict=True))
    groups = tuple(2 for _ in range(len(data) // 2)) if loss == "dpo" else ()
    [trained] = machine.train([TrainJob(data, settings.lora, settings.optimizer, settings.epochs, settings.batch_size, seed, loss, options, groups)])
    assert trained.adapter is not None, trained.failure
    machine.merge(trained.adapter)
    merged.append(trained.adapter)


def datum(r: ScoreRequest, old: tuple[float, ...], first: tuple[float, ...], one: Selected) -> Datum:
    before = (0.0,) * len(r.prompt)
    return Datum(r.prompt + r.completion, before + (1.0,) * len(r.completion), before + old, before + first, one.advantage)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rest_em", "reinforce", "ppo", "grpo", "dpo"])
def test_the_reward_rises(name: str, tmp_path: Path) -> None:
    parts.load()
    registry = parts.KINDS["algorithm"]
    algorithm = registry.open(registry.get(name).settings(**OUTER, **MORE.get(name, {})))
    before: list[list[float]] = []
    after: list[list[float]] = []
    for seed in range(3):
        machine, merged = opened(tmp_path, seed), list[Adapter]()
        held_out = prompts(1000 + seed)
        start = [reward(c) for c in write(machine, held_out, 77)]
        for round_ in range(ROUNDS):
            update(machine, algorithm, prompts(100 * seed + round_), seed * 100 + round_, merged)
        end = [reward(c) for c in write(machine, held_out, 78)]
        print(f"{name}, seed {seed}: {sum(start) / len(start):.3f} to {sum(end) / len(end):.3f}")
        assert sum(end) > sum(start)
        before += [start[i : i + SAMPLES] for i in range(0, len(start), SAMPLES)]
        after += [end[i : i + SAMPLES] for i in range(0, len(end), SAMPLES)]
    gain = stats.paired_difference(after, before)
    assert gain.low > 0.05, gain
