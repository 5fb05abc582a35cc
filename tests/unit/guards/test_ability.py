"""Guards of what a model could do before, of how it speaks, and of how far its weights were moved.

1. `ability` rejects what lost more probes than is allowed by the whole of its interval, and nothing that may be chance. It asks the kinds and the
   number that it is told to.
2. `drift` is the mean over all tokens of the base's own answers; a likelihood that is no number rejects. The base answers once for all adapters.
3. `size` is the norm of B A alpha / rank, whole and against the weights'. Numbers that are none, and shapes that do not fit, reject; so does an
   update that is too large. Of the fake engine's adapters it says nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import save_file
from tests.unit.engine.tiny_engine import engine, job

from selfedit.config import parse_recipe
from selfedit.engine.fake import Fake
from selfedit.engine.torch.engine import Torch
from selfedit.guards import AdapterSeen, judge
from selfedit.guards.ability import Ability, AbilitySettings, ability
from selfedit.guards.drift import Drift, DriftSettings, drift
from selfedit.guards.size import Size, SizeSettings, Update, size, updates_of
from selfedit.parts import KINDS
from selfedit.policy import Policy
from selfedit.retention import Probed
from selfedit.types import Adapter, LoraShape, Score


def marks(right: int, of: int = 224) -> list[Probed]:
    return [Probed(str(n), "format", "", float(n < right)) for n in range(of)]


def policy(machine: Any) -> Policy:
    return Policy(machine, parse_recipe({"engine": {"type": "fake"}}, source="test"))


def trained(machine: Torch, lr: float = 1e-2) -> Adapter:
    one = job(0, lengths=(12, 9), lora=LoraShape(4, 8.0), epochs=2)
    [found] = machine.train([replace(one, optimizer=replace(one.optimizer, lr=lr))])
    assert found.adapter, found.failure
    return found.adapter


# ---------------------------------------------------------------- promise 1


@pytest.mark.parametrize(("after", "decision"), [(112, "accept"), (100, "accept"), (88, "accept"), (40, "reject"), (150, "accept")])
def test_ability(after: int, decision: str) -> None:
    verdict = ability(marks(112), marks(after), 10.0)
    assert verdict.decision == decision and f"{after / 224:.0%} of 224" in verdict.reason


def test_few_probes_show_large_losses_only() -> None:
    assert ability(marks(5, 8), marks(2, 8), 10.0).decision == "accept"
    assert ability(marks(8, 8), marks(0, 8), 10.0).decision == "reject"


def test_ability_asks_what_it_is_told() -> None:
    asked: list[int] = []

    class Counting(Fake):
        def sample(self, requests: Any, progress: Any = None) -> Any:
            asked.append(len(requests))
            return super().sample(requests, progress)

    machine = Counting()
    guard = Ability(AbilitySettings(kinds=("reading", "turns"), limit=6))
    verdict = guard.verdict(AdapterSeen(policy(machine), machine._add(machine._merged), (), ()))
    assert asked == [6, 6] and verdict.decision == "accept" and "of 6 probes" in verdict.reason
    for kinds in ((), ("text",), ("sums",)):
        with pytest.raises(ValidationError, match="there are knowledge, arithmetic"):
            AbilitySettings(kinds=kinds)


# ---------------------------------------------------------------- promise 2


@pytest.mark.parametrize(("after", "decision"), [((-2.0, -2.0, -2.0), "accept"), ((-2.1, -2.0, -2.0), "reject"), ((-9.0, math.nan, 0.0), "reject")])
def test_drift(after: tuple[float, ...], decision: str) -> None:
    before = [Score((-1.0,)), Score((-1.0, -1.0))]
    assert drift(before, [Score(after[:1]), Score(after[1:])], 1.0).decision == decision


def test_drift_is_a_mean_over_tokens() -> None:
    verdict = drift([Score((0.0,)), Score((0.0, 0.0, 0.0))], [Score((-4.0,)), Score((0.0, 0.0, 0.0))], 2.0)
    assert verdict.reason.startswith("1.00 nats a token away from the model without it, on 2 of its own answers")


def test_the_base_answers_once_for_all_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = engine(dtype=torch.float32)
    calls: list[int] = []
    sample = machine.sample
    monkeypatch.setattr(machine, "sample", lambda requests, progress=None: (calls.append(len(requests)), sample(requests, progress))[1])
    one, guard = policy(machine), Drift(DriftSettings(prompts=3, max_nats=1e-4))
    far, near = trained(machine, lr=3e-2), trained(machine, lr=1e-7)
    verdicts = [guard.verdict(AdapterSeen(one, adapter, (), ())) for adapter in (far, near, near)]
    assert calls == [3] and [verdict.decision for verdict in verdicts] == ["reject", "accept", "accept"]


# ---------------------------------------------------------------- promise 3


def write(folder: Path, rank: int = 4, alpha: float = 8.0, **tensors: Any) -> dict[str, Any]:
    """An exported adapter of one layer `a.b`, 6 by 5."""
    rng = numpy.random.default_rng(0)
    down, up = rng.normal(size=(rank, 5)).astype("float32"), rng.normal(size=(6, rank)).astype("float32")
    named = {"base_model.model.a.b.lora_A.weight": tensors.get("down", down), "base_model.model.a.b.lora_B.weight": tensors.get("up", up)}
    save_file({name: value for name, value in named.items() if value is not None}, folder / "adapter_model.safetensors")
    return {"r": rank, "lora_alpha": alpha}


def test_the_norm_of_an_update(tmp_path: Path) -> None:
    config = write(tmp_path)
    from safetensors.numpy import load_file

    tensors = load_file(tmp_path / "adapter_model.safetensors")
    whole = 2.0 * tensors["base_model.model.a.b.lora_B.weight"] @ tensors["base_model.model.a.b.lora_A.weight"]
    assert updates_of(tmp_path, config) == [Update("a.b", pytest.approx(float(numpy.linalg.norm(whole)), rel=1e-6))]


def test_what_does_not_fit_or_is_no_number(tmp_path: Path) -> None:
    for change in ({"down": numpy.zeros((3, 5), "float32")}, {"up": numpy.zeros((6,), "float32")}, {"up": None}):
        with pytest.raises(ValueError, match=r"A and B of a\.b|not every layer"):
            updates_of(tmp_path, write(tmp_path, **change))
    for bad in (math.nan, math.inf, 1e300):
        config = write(tmp_path, down=numpy.full((4, 5), bad, "float64"))
        assert size(updates_of(tmp_path, config), {"a.b": 1.0}, 0.2).decision == "reject"
    assert updates_of(tmp_path, write(tmp_path, up=numpy.zeros((6, 4), "float32"))) == [Update("a.b", 0.0)]


def test_size_against_the_weights() -> None:
    updates = [Update("a", 3.0), Update("b", 4.0)]
    verdict = size(updates, {"a": 30.0, "b": 40.0, "c": 99.0}, 0.1)
    assert verdict.decision == "accept" and verdict.reason.startswith("the update's norm is 10.0% of the weights', 10.0% in ")
    assert size(updates, {"a": 30.0, "b": 40.0}, 0.09).decision == "reject"
    assert size(updates, {"a": 30.0}, 0.01).reason == "the update's norm is 5; that of the weights is not known"


def test_size_of_real_adapters() -> None:
    machine = engine(dtype=torch.float32)
    seen = AdapterSeen(policy(machine), trained(machine), (), ())
    verdict = Size(SizeSettings(max_norm=10.0)).verdict(seen)
    norms = machine.norms()
    assert verdict and verdict.decision == "accept" and len(norms) == len(machine.base.sites)
    name, linear = machine.base.sites[3].name, machine.base.linears[3]
    assert norms[name] == pytest.approx(float(torch.linalg.norm(linear.weight)))
    registry: Any = KINDS["guard"]
    [found] = judge([registry.open(registry.get("size").settings(max_norm=1e-6))], "adapter", seen)
    assert (found.guard, found.decision) == ("size", "reject")


def test_a_broken_adapter_is_rejected() -> None:
    machine = engine(dtype=torch.float32)
    adapter = trained(machine)
    weights = next(w for w in machine._adapters[adapter.id].up if w is not None)
    weights[0, 0] = math.nan
    [found] = judge([Size(SizeSettings())], "adapter", AdapterSeen(policy(machine), adapter, (), ()))
    assert found.decision == "reject" and "no finite number" in found.reason


def test_size_has_nothing_to_say_of_the_fake_engine() -> None:
    machine = Fake()
    assert Size(SizeSettings()).verdict(AdapterSeen(policy(machine), machine._add(machine._merged), (), ())) is None
