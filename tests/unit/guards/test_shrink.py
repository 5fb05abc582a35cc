"""Adapters of which guards accept only a part.

1. Bisection finds the largest scale that passes to within a step, never one that does not, with six questions at most.
2. A scaled adapter's update is exactly so many times the old one, in memory, exported and loaded again.
3. `size` finds the scale that follows from the norm, which is linear in it. A guard that may not shrink is not asked; one that fails rejects; each
   guard goes on where the one before it stopped. Scaled adapters leave nothing behind in the engine.
4. A run puts the scaled adapters in force, each in the place of its own, and its ledger says by how much; what no scale saves is rejected. Stopped in
   between and resumed it finds the same. `consolidate` does the same.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.cli.house import CORPUS, QUICK, House
from tests.unit.engine.tiny_engine import engine, flat, job, loud, prose

from selfedit.config import parse_recipe
from selfedit.engine.fake import Fake
from selfedit.engine.split import SplitEngine
from selfedit.guards import AdapterSeen, Guard, ShrinkSettings, accept, reject, shrink
from selfedit.guards.forgetting import Forgetting
from selfedit.guards.shrink import LEAST, largest
from selfedit.guards.size import Size, SizeSettings, updates_of
from selfedit.library import Library
from selfedit.policy import Policy
from selfedit.types import ScoreRequest, Verdict


def policy(machine: Any) -> Policy:
    return Policy(machine, parse_recipe({"engine": {"type": "fake"}}, source="test"))


class Limit(Guard):
    """Accepts scales up to a limit of an adapter whose first number is known, and counts how often it is asked."""

    def __init__(self, limit: float, whole: float, shrinks: bool = True) -> None:
        super().__init__(ShrinkSettings(shrink=shrinks))
        self.limit, self.whole, self.asked = limit, whole, 0

    def verdict(self, seen: AdapterSeen) -> Verdict:
        self.asked += 1
        scale = float(flat(seen.policy.engine, seen.adapter)[0]) / self.whole  # type: ignore[arg-type]
        return (accept if scale <= self.limit else reject)(f"{scale:.2f}")


@pytest.mark.parametrize("most", [1.0, 0.6])
@pytest.mark.parametrize("limit", [0.1, 0.11, 0.3, 0.5, 0.599])
def test_the_largest_scale(limit: float, most: float) -> None:  # promise 1
    asked: list[float] = []
    found = largest(lambda scale: (asked.append(scale), scale <= limit)[1], most)
    assert found is not None and found <= limit < found + (most - LEAST) / 32 + 1e-12
    assert len(asked) == 6 and most not in asked
    assert largest(lambda scale: scale <= 0.09, most) is None and largest(lambda scale: True, LEAST) is None


def test_a_scaled_adapter(tmp_path: Path) -> None:  # promise 2
    machine = engine(dtype=torch.float64)
    whole = loud(machine)
    part = machine.scaled(whole, 0.25)
    for name, adapter in (("whole", whole), ("part", part)):
        machine.export(adapter, tmp_path / name)
    norms = [
        updates_of(tmp_path / name, json.loads((tmp_path / name / "adapter_config.json").read_text(encoding="utf-8"))) for name in ("whole", "part")
    ]
    assert [one.norm / 4 for one in norms[0]] == pytest.approx([one.norm for one in norms[1]], rel=1e-12)
    rng = random.Random(0)
    asked = prose(rng, 9), prose(rng, 7)
    loaded, same = machine.load(tmp_path / "part"), machine.scaled(whole, 1.0)
    base, of_part, of_loaded, of_whole, of_same = machine.score([ScoreRequest(*asked, who) for who in (None, part, loaded, whole, same)])
    assert of_same.logprobs == pytest.approx(of_whole.logprobs, abs=1e-12) and of_part.logprobs != of_whole.logprobs != base.logprobs
    assert of_loaded.logprobs == pytest.approx(of_part.logprobs, abs=1e-5)
    split = SplitEngine(machine, engine(dtype=torch.float64))
    assert flat(machine, split.scaled(whole, 0.5))[0] == flat(machine, whole)[0] / 2


def test_the_fake_engine_forgets_in_proportion() -> None:  # promise 2
    machine = Fake()
    adapter = machine._add(machine._merged)
    machine._adapters[adapter.id].update({("cue", text): 8 for text in "dbca"})
    assert machine._get(machine.scaled(adapter, 0.5)) == {("cue", "a"): 8, ("cue", "b"): 8}


def test_size_finds_what_follows_from_the_norm() -> None:  # promise 3
    machine = engine(dtype=torch.float32)
    seen, limit = AdapterSeen(policy(machine), loud(machine), (), ()), 0.2
    kept = set(machine._adapters)
    before = Size(SizeSettings(max_norm=limit)).verdict(seen)
    assert before and before.decision == "reject"
    share = float(before.reason.partition("%")[0].rpartition(" ")[2]) / 100
    [verdict] = shrink([Size(SizeSettings(max_norm=limit, shrink=True))], seen)
    exact = limit / share
    assert verdict.decision == "shrink" and 0 <= exact - verdict.scale <= 0.9 / 32 + 1e-3, (exact, verdict)
    assert not verdict.against and before.reason in verdict.reason and set(machine._adapters) == kept
    [verdict] = shrink([Size(SizeSettings(max_norm=limit / 100, shrink=True))], seen)
    assert verdict.decision == "reject" and verdict.reason.endswith("scaled to 0.1 it is rejected too")


def test_one_guard_after_another() -> None:  # promise 3
    machine = engine(dtype=torch.float32)
    [trained] = machine.train([job(0)])
    assert trained.adapter is not None
    whole = float(flat(machine, trained)[0])
    seen = AdapterSeen(policy(machine), trained.adapter, (), ())
    wide, narrow, fine, never = Limit(0.7, whole), Limit(0.3, whole), Limit(2.0, whole), Limit(0.0, whole, shrinks=False)
    found = shrink([never, fine, wide, narrow, fine], seen)
    assert [one.decision for one in found] == ["accept", "shrink", "shrink", "accept"] and never.asked == 0
    assert 0.7 - 0.9 / 32 < found[1].scale <= 0.7 and 0.3 - 0.6 / 32 < found[2].scale <= 0.3
    assert [wide.asked, narrow.asked, fine.asked] == [7, 7, 2]
    assert [one.decision for one in shrink([Limit(0.05, whole), wide], seen)] == ["reject", "shrink"]

    class Broken(Limit):
        def verdict(self, seen: AdapterSeen) -> Verdict:
            raise ZeroDivisionError

    [verdict] = shrink([Broken(1.0, whole)], seen)
    assert verdict.decision == "reject" and "cannot decide" in verdict.reason


class Counting(Forgetting):
    """Rejects adapters of the fake engine that have seen more than so much, and those that have seen nothing."""

    most = 20

    def verdict(self, seen: AdapterSeen) -> Verdict:
        held = seen.policy.engine._get(seen.adapter).total()  # type: ignore[attr-defined]
        return (accept if 0 < held <= self.most else reject)(f"{held} texts")


SHRINK = ("--guard.forgetting.shrink", "--propose.candidates", "1")


def counting(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(Counting, "most", most)
    monkeypatch.setattr(Forgetting, "verdict", Counting.verdict)
    monkeypatch.setattr(Forgetting, "most", most, raising=False)


def test_a_run_with_scaled_adapters(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    counting(monkeypatch, 92)
    found = house.learn(*SHRINK)
    with house.reader(found["run"]) as reader:
        said = [one for one in reader.verdicts() if one.guard == "forgetting"]
        artifacts, rows = reader.artifacts(), {(r.row, r.task_id): r for r in reader.results()}
    assert len(said) == 3 and {one.decision for one in said} == {"accept", "shrink"}, said
    smaller = [one for one in said if one.decision == "shrink"]
    assert all(LEAST <= one.scale < 1 for one in smaller) and len(artifacts) == 3 + len(smaller)
    library = Library(house.folder / "runs")
    names = {entry.documents[0].title: entry.id for entry in library.entries()}
    trained = {one.name: Path(one.path).name for one in artifacts[:3]}
    assert {title for title, name in names.items() if name != trained[title]} == {one.name for one in artifacts[3:]}
    machine = Fake()
    for one in smaller:
        [title] = [title for title, name in trained.items() if name == one.about]
        old, new = (machine.load(house.folder / "runs" / found["run"] / "library" / "adapters" / name) for name in (one.about, names[title]))
        assert machine._get(machine.scaled(old, one.scale)) == machine._get(new) and machine._get(new).total() <= 92
    answers = json.loads(house.fine("ask", "Where was Odwin Marrack born?", "--json", "--quiet"))
    assert answers["adapter"] == names["Odwin Marrack"]
    assert len({task for row, task in rows if row == "right_adapter"}) == 3
    said_in_words = house.fine("show", found["run"])
    assert "forgetting: shrink; scaled to 0." in said_in_words
    house.fine("report")
    assert "Scaled down" in next((house.folder / "runs" / found["run"]).glob("*.html")).read_text(encoding="utf-8")


def test_stopped_and_resumed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    counting(monkeypatch, 50)
    first = house.learn(*SHRINK)
    for place in ("selfedit.loop.shrink.seal", "selfedit.loop.learn.route_questions"):
        folder = place.replace(".", "-")
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            assert house.type("learn", str(CORPUS), *QUICK, *SHRINK, "--quiet", "--runs", folder)[0] == 130
        again = json.loads(house.fine("learn", "--resume", "latest", "--json", "--quiet", "--runs", folder).splitlines()[-1])
        assert again["content_hash"] == first["content_hash"] and again["in_force"]


def test_what_no_scale_saves(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    counting(monkeypatch, 0)
    found = house.learn(*SHRINK)
    assert not found["in_force"] and {one["decision"] for one in found["guards"] if one["guard"] == "forgetting"} == {"reject"}


def test_consolidate_scales_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    house.learn("--propose.candidates", "1")
    counting(monkeypatch, 40)
    found = json.loads(house.fine("consolidate", "--guard.forgetting.shrink", "--json", "--quiet").splitlines()[-1])
    [entry] = Library(house.folder / "runs").entries()
    machine = Fake()
    held = machine._get(machine.load(entry.folder)).total()
    assert found["in_force"] and 0 < held <= 40
