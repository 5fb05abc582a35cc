"""Whole runs of `train` with each algorithm, on the fake engine.

1. Every round records its update: groups, those that taught nothing, losses, and the metrics of its loss; what was kept carries its advantage.
2. A run that is killed while any step is computed, and taken up by a fresh process, ends with the same content.
3. Where no group has variance the policy stays as it is, and the run goes on and says so.
4. Wrong settings are one line that names the algorithm and what it has.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.algorithms.house import recipe, train

from selfedit.config import parse_recipe
from selfedit.errors import ConfigError
from selfedit.ledger import Reader
from selfedit.report import write

POLICY_GRADIENT = ("reinforce", "ppo", "grpo", "dpo")
ALGORITHMS = ("rest_em", *POLICY_GRADIENT)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_round_records_its_update(name: str, tmp_path: Path) -> None:  # promise 1
    train(tmp_path / "run", recipe({"type": name}))
    with Reader(tmp_path / "run") as reader:
        updates, kept, artifacts = reader.updates(), reader.kept(), [artifact.path for artifact in reader.artifacts()]
        steps = [step.name for step in reader.steps()]
    assert [(update.round, update.algorithm) for update in updates] == [(0, name), (1, name)] and artifacts == ["policy/round-1", "policy/round-2"]
    assert steps.index("round-0/kept") + 1 == steps.index("round-0/update") == steps.index("round-0/policy") - 1
    for update in updates:
        assert update.groups == 3 and update.losses and 0 <= update.skipped < 3
        assert ("kl" in update.metrics) == (name != "rest_em") and ("clip_fraction" in update.metrics) == (name in ("ppo", "grpo"))
    assert all(one.advantage == 1.0 for one in kept) if name == "rest_em" else abs(sum(one.advantage for one in kept)) < 1e-9
    page = write(tmp_path / "run").read_text(encoding="utf-8")
    assert 'id="updates"' in page and f"<td>{name}</td>" in page


@pytest.mark.parametrize("name", ALGORITHMS)
def test_killed_anywhere_and_resumed(name: str, tmp_path: Path) -> None:  # promise 2
    settings = recipe({"type": name}, limit=2)
    steps = train(tmp_path / "whole", settings)
    with Reader(tmp_path / "whole") as reader:
        expected = reader.content_hash()
    for stop_at in range(1, steps + 1, 1 if name == "ppo" else 5):
        folder = tmp_path / f"stopped-{stop_at}"
        with pytest.raises(KeyboardInterrupt):
            train(folder, settings, stop_at)
        assert train(folder, settings) == steps - stop_at + 1
        with Reader(folder) as reader:
            assert reader.content_hash() == expected, stop_at


@pytest.mark.parametrize("name", POLICY_GRADIENT)
def test_groups_without_variance_teach_nothing(name: str, tmp_path: Path) -> None:  # promise 3
    alike = {"strategies": ["passage-only"], "candidates": 2}
    train(tmp_path / "run", recipe({"type": name}, propose=alike, reward={"type": "correctness"}))
    with Reader(tmp_path / "run") as reader:
        assert [(update.groups, update.skipped, update.losses) for update in reader.updates()] == [(3, 3, ()), (3, 3, ())]
        assert reader.kept() == [] and reader.artifacts() == [] and "round-2" in reader.arms()
    assert "100.0\u202f%" in write(tmp_path / "run").read_text(encoding="utf-8")


def test_wrong_settings() -> None:  # promise 4
    with pytest.raises(ConfigError, match=r"algorithm.keep is no setting of grpo, which has .*clip_high"):
        parse_recipe({"algorithm": {"type": "grpo", "keep": 2}})
    with pytest.raises(ConfigError, match=r"algorithm.clip: .* \(got 2.0\)"):
        parse_recipe({"algorithm": {"type": "ppo", "clip": 2.0}})
