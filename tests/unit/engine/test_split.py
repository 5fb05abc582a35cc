"""One engine out of a trainer and a sampler.

1. Completions, scores, merging and resetting are those of one engine alone: two fake engines, and two tiny torch engines (fp32, token for token).
2. An adapter is handed over when it is first needed on the other side, once, under a name that no adapter had before; dropped on both sides, its
   files are gone.
3. Without an adapter, nothing is handed over.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engine.test_fake import TOKENIZER
from tests.unit.engine.tiny_engine import engine, job, prose

from selfedit.engine.base import Engine
from selfedit.engine.fake import Fake
from selfedit.engine.split import SplitEngine
from selfedit.errors import EngineError
from selfedit.types import Adapter, Datum, Optimizer, SampleRequest, Sampling, ScoreRequest, Tokens, TrainJob

RNG = random.Random(0)
FACTS = {"When was the mill built?": "The mill was built in 1802.", "When did the weir fall?": "The weir fell in 1911."}


def fakes() -> tuple[list[Engine], list[TrainJob], list[Tokens]]:
    pairs = [(TOKENIZER.chat(question), TOKENIZER.encode_more(answer)) for question, answer in FACTS.items()]
    data = [Datum(prompt + answer, (0.0,) * len(prompt) + (1.0,) * len(answer)) for prompt, answer in pairs]
    return [Fake() for _ in range(3)], [TrainJob((d,)) for d in data], [prompt for prompt, _ in pairs]


def torches() -> tuple[list[Engine], list[TrainJob], list[Tokens]]:
    jobs = [job(seed, (12, 30, 5), epochs=2, optimizer=Optimizer(lr=0.05)) for seed in range(2)]
    return [engine("llama", torch.float32) for _ in range(3)], jobs, [prose(RNG, n) for n in (4, 20)]


@pytest.mark.parametrize("make", [fakes, torches])
def test_split_is_one_engine(make: Any) -> None:  # promise 1
    (one, trainer, sampler), jobs, prompts = make()
    split = SplitEngine(trainer, sampler)
    said: list[list[Any]] = []
    for machine in (one, split):
        adapters: list[Adapter | None] = [None, *(t.adapter for t in machine.train(jobs))]
        requests = [SampleRequest(p, Sampling(12, 0.7, seed=seed), a) for p in prompts for a in adapters for seed in range(2)]
        scores = [ScoreRequest(p, prompts[0][:3], a) for p in prompts for a in adapters]
        found: list[Any] = [machine.sample(requests), machine.score(scores)]
        assert adapters[1] and adapters[2]
        machine.merge(adapters[1])
        machine.drop(adapters[1])
        rest = [r for r in requests if r.adapter != adapters[1]]
        found += [machine.sample(rest), machine.score([s for s in scores if s.adapter != adapters[1]])]
        machine.reset()
        found.append(machine.sample(rest))
        said.append(found)
    assert said[0] == said[1] and said[0][2] != said[0][4]
    assert len({c.text for c in said[0][0]}) > 2


def test_is_handed_over_once_and_dropped_on_both_sides(tmp_path: Path) -> None:  # promises 2 and 3
    _, jobs, [prompt, _] = fakes()
    loaded: list[Path] = []

    class Sampler(Fake):
        def load(self, folder: Path) -> Adapter:
            loaded.append(folder)
            return super().load(folder)

    sampler = Sampler()
    split: Engine = SplitEngine(Fake(), sampler)
    [first, second] = [t.adapter for t in split.train(jobs)]
    assert first and second
    split.sample([SampleRequest(prompt)])
    assert not loaded
    for _ in range(2):
        split.sample([SampleRequest(prompt, adapter=first), SampleRequest(prompt, adapter=first)])
    assert len(loaded) == 1 and loaded[0].is_dir()
    split.export(first, tmp_path)
    split.drop(first)
    assert not loaded[0].exists() and not sampler._adapters
    with pytest.raises(EngineError):
        split.sample([SampleRequest(prompt, adapter=first)])
    split.sample([SampleRequest(prompt, adapter=split.load(tmp_path)), SampleRequest(prompt, adapter=second)])
    assert len({folder.name for folder in loaded}) == 3
