"""Whether everyday prompts are answered as before.

1. The share of equal answers is compared with the limit; the reason says how many prompts reached the adapter.
2. Without a gate every prompt is put to the adapter: one that does nothing changes nothing, a loud one nearly everything. Prompts that are put as
   before are not asked at all.
3. Behind a gate only what it lets in to this adapter is put to it: nothing where it is closed, and at most what shares a word with the document where
   it is open. `learn` and `consolidate` measure it so, and say what the run's own routing says.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from tests.unit.cli.house import House
from tests.unit.engine.tiny_engine import engine, loud

from selfedit.config import parse_recipe
from selfedit.engine.fake import Fake
from selfedit.guards import AdapterSeen
from selfedit.guards.locality import Locality, LocalitySettings, locality
from selfedit.library import Adapters, Gate, Library, in_use
from selfedit.policy import Policy
from selfedit.retention import everyday


def policy(machine: Any) -> Policy:
    return Policy(machine, parse_recipe({"engine": {"type": "fake"}}, source="test"))


@pytest.mark.parametrize(("changed", "decision"), [(0, "accept"), (6, "accept"), (7, "reject"), (120, "reject")])
def test_the_share(changed: int, decision: str) -> None:  # promise 1
    verdict = locality(120, 120, changed, 0.95)
    assert verdict.decision == decision and verdict.reason.startswith(f"{1 - changed / 120:.1%} of 120 everyday prompts")


def test_without_a_gate() -> None:  # promise 2
    machine = engine(dtype=torch.float32)
    noisy = loud(machine)
    guard = Locality(LocalitySettings(prompts=6))
    still, changed = (guard.verdict(AdapterSeen(policy(machine), one, (), ())) for one in (machine.scaled(noisy, 0.0), noisy))
    assert still.decision == "accept" and "100.0% of 6" in still.reason and "6 reached" in still.reason
    assert changed.decision == "reject"


def test_behind_a_gate(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promises 2, 3
    house.learn()
    monkeypatch.setattr("selfedit.library.gate.MOST_TOLD", 1e9)  # every candidate is read, so that the threshold alone decides
    library, machine = Library(house.folder / "runs"), Fake()
    one, prompts = policy(machine), [each.prompt for each in everyday("check")]
    with Adapters(machine, library) as adapters:
        first = library.names()[0]
        shut, open_ = (in_use(one, adapters, Gate(threshold))(first)(prompts) for threshold in (1e9, -1e9))
        assert all(before == after and before.adapter is None for before, after in shut)
        inside = [pair for pair in open_ if pair[0] != pair[1]]
        assert 0 < len(inside) < 60 and {after.adapter for _, after in inside} == {adapters.load(first)}
        everybody = [in_use(one, adapters, Gate(-1e9))(name)(prompts) for name in library.names()]
        reached = [sum(pairs[n][0] != pairs[n][1] for pairs in everybody) for n in range(len(prompts))]
        assert max(reached) == 1  # never two at once
        asked: list[int] = []
        sample = machine.sample
        machine.sample = lambda requests, progress=None: (asked.append(len(requests)), sample(requests, progress))[1]  # type: ignore[method-assign]
        guard = Locality(LocalitySettings())
        closed = guard.verdict(AdapterSeen(one, adapters.load(first), (), (), in_use(one, adapters, Gate(1e9))(first)))
        assert asked == [] and "100.0% of 120" in closed.reason and "; 0 reached" in closed.reason
        guard.verdict(AdapterSeen(one, adapters.load(first), (), (), in_use(one, adapters, Gate(-1e9))(first)))
        assert asked == [2 * len(inside)]


def test_in_a_run(house: House) -> None:  # promise 3
    found = house.learn("--guards", "training", "locality")
    said = [one for one in found["guards"] if one["guard"] == "locality"]
    with house.reader(found["run"]) as reader:
        routed = [one for one in reader.routed() if not one.about]
    reached = [int(one["reason"].partition(" reached")[0].rpartition(" ")[2]) for one in said]
    assert len(said) == 3 and sum(reached) == sum(bool(one.to) for one in routed) and len(routed) == 120
    assert found["in_force"] and {one["decision"] for one in said} == {"accept"}
    both = json.loads(house.fine("consolidate", "--json", "--quiet").splitlines()[-1])
    with house.reader(both["run"]) as reader:
        [verdict] = [one for one in reader.verdicts() if one.guard == "locality"]
    assert verdict.decision == "accept" and "of 120 everyday prompts" in verdict.reason
