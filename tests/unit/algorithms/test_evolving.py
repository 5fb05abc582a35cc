"""`evolve` on the real engine: the foundation that its rounds build on knows the documents better from round to round, under every seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.algorithms.house import recipe, trained
from tests.unit.engine import tiny_engine

from selfedit.engine.kinds import TorchSettings
from selfedit.engine.torch.engine import Torch
from selfedit.ledger import Reader
from selfedit.models import load, tiny
from selfedit.types import Result

INNER = {"epochs": 4, "lora": {"rank": 8, "alpha": 16}, "optimizer": {"lr": 5e-3}}
WRITING = {"strategies": ["passage-only", "key-facts", "rewrite"], "candidates": 3, "sampling": {"max_tokens": 16, "temperature": 1.0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("llama", tmp_path_factory.mktemp("evolving") / "model", vocab_size=tiny_engine.VOCABULARY, hidden=32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_evolution_learns(folder: Path, tmp_path: Path, seed: int) -> None:
    evaluation = {"baselines": ["base"]}
    settings = recipe({"type": "evolve"}, seed=seed, rounds=3, inner=INNER, propose=WRITING, eval=evaluation, questions={"max_tokens": 4})
    trained(tmp_path / "run", settings, engine=lambda: Torch(*load(folder, torch.float32), TorchSettings(threads=1)))  # type: ignore[arg-type, return-value]
    with Reader(tmp_path / "run") as reader:
        knows = [[a.gold_logprob for r in reader.step(f"round-{n}/base", Result) for a in r.answers] for n in range(3)]
    gains = np.diff(np.array(knows, dtype=float), axis=0)  # of each question, from round to round
    errors = gains.std(axis=1, ddof=1) / np.sqrt(gains.shape[1])
    assert (gains.mean(axis=1) > 2 * errors).all(), (gains.mean(axis=1), errors)
