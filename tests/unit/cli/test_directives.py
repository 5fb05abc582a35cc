"""Directives in whole runs, with the fake engine.

1. `train` and `eval` have two rows more, on the self-edits of the untrained one: under the recipe's settings and under random ones. A held-out
   self-edit whose directives cannot be used is asked without an adapter.
2. `show --json` and the page say what was chosen, round by round, and why a self-edit has no score; `show --candidate` and `dataset --picks` too.
3. A run that was stopped in any step goes on and finds the same; `learn` keeps the best self-edit with its directives.
4. A name that is none, or a row without directives, is refused at once in one line; `show directives` lists what there is.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.house import QUICK, House

from selfedit.ledger import Ledger
from selfedit.report import write as write_report
from selfedit.types import Candidate, Proposal, Result

JSON = ("--propose.directives", "lr", "epochs", "--propose.directives-as", "json")
SLOTS = ("--propose.directives", "lr", "epochs", "layers")
ROWS = ("untrained", "default_directives", "random_directives")


def trained(house: House, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(house.fine("train", *QUICK, "--rounds", "2", "--json", "--quiet", *more).splitlines()[-1])
    return found


def test_the_rows(house: House) -> None:  # promise 1
    run = trained(house, *SLOTS, "--propose.strategies", "self-qa", "rewrite")
    with house.reader(run["run"]) as reader:
        results, edits = reader.results(), {}
        for step in reader.steps():
            if step.name.startswith("evaluate/untrained/edits/"):
                edits = {(p.task_id, p.edit.strategy): p.edit for p in reader.step(step.name, Proposal)}
    tokens = {row: {r.task_id: r.tokens for r in results if (r.row, r.role) == (row, "report")} for row in ROWS}
    assert all(len(tokens[row]) == 3 for row in ROWS)
    best = next(
        name
        for name in ("self-qa", "rewrite")
        if {r.task_id: r.tokens for r in results if (r.row, r.role) == (name, "report")} == tokens["untrained"]
    )
    for task, n in tokens["untrained"].items():
        epochs = dict(edits[task, best].directives)["epochs"]
        assert isinstance(epochs, int) and tokens["default_directives"][task] * epochs == n * 6  # the same data, with the recipe's epochs
        assert 6 * tokens["random_directives"][task] % tokens["default_directives"][task] == 0
    assert run["folder"] and set(ROWS) <= {row["name"] for row in json.loads(Path(run["folder"], "results.json").read_text())["rows"]}
    again = json.loads(house.fine("eval", "--policy", run["run"], "--json", "--quiet").splitlines()[-1])
    with house.reader(again["run"]) as reader:
        assert {(r.task_id, r.tokens) for r in reader.results() if r.row == "random_directives"} == set(tokens["random_directives"].items())


def test_a_held_out_self_edit_that_cannot_be_used(house: House) -> None:  # promise 1
    run = trained(house, *JSON, "--eval.seeds", "3")
    with house.reader(run["run"]) as reader:
        names = [step.name for step in reader.steps() if step.name.startswith("evaluate/round-1/edits/")]
        broken = {(p.task_id, p.index // 64): bool(p.edit.problem) for name in names for p in reader.step(name, Proposal)}
        results: list[Result] = [r for r in reader.results() if r.row == "round-1"]
    assert any(broken.values()) and not all(broken.values())
    assert {(r.task_id, r.seed): r.tokens == 0 for r in results} == broken


def test_what_was_chosen(house: House, tmp_path: Path) -> None:  # promise 2
    run = trained(house, *JSON, "--propose.candidates", "4", "--algorithm", "grpo")
    candidates = json.loads(house.fine("show", run["run"], "--json"))["candidates"]
    broken = [c for c in candidates if c["problem"]]
    assert broken and all(
        c["reward"] == {"value": None, "kind": "correctness", "reason": c["problem"], "parts": {}} and c["directives"] == {} for c in broken
    )
    fine = [c for c in candidates if not c["problem"]]
    assert all(list(c["directives"]) == ["lr", "epochs"] and c["reward"]["value"] is not None and c["tokens"] for c in fine)
    with house.reader(run["run"]) as reader:
        assert not {(s.task_id, s.round, s.index) for s in reader.selected()} & {(c["task"], c["round"], c["index"]) for c in broken}
    page = write_report(Path(run["folder"]), tmp_path / "page.html").read_text(encoding="utf-8")
    table = page.partition("<caption>Directives by round")[2].partition("</table>")[0]
    for number in (0, 1):
        counts = Counter(c["directives"]["lr"] for c in fine if c["round"] == number)
        assert all(f"{n / counts.total():.1%}".replace("%", "") in table for n in counts.values())
    assert "its directives cannot be used: not JSON" in page and "lr 0.00" in page
    shown = house.fine("show", run["run"], "--candidate", "{task}:{round}:{index}".format(**broken[0]))
    assert "unscored: its directives cannot be used" in shown
    shown = house.fine("show", run["run"], "--candidate", "{task}:{round}:{index}".format(**fine[0]))
    assert f"lr {fine[0]['directives']['lr']}" in shown
    house.fine("dataset", run["run"], str(tmp_path / "picks.jsonl"), "--picks")
    rows = [json.loads(line) for line in (tmp_path / "picks.jsonl").read_text().splitlines()]
    assert len(rows) == len(candidates) and sum(row["reward"] is None for row in rows) == len(broken)


@pytest.mark.parametrize("how", [JSON, SLOTS], ids=["json", "slots"])
def test_going_on(house: House, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]) -> None:  # promise 3
    whole = trained(house, *how)["content_hash"]
    step, seen = Ledger.step, Counter[str]()

    def stopping(self: Ledger, name: str, kind: type, compute: Any) -> Any:
        found = step(self, name, kind, compute)
        seen[name] += 1
        if seen[name] == 1 and name in ("round-0/edits", "round-1/edits", "evaluate/round-2/edits/0-0"):
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "step", stopping)
        assert house.type("train", *QUICK, "--rounds", "2", "--quiet", *how)[0] == 130
        while (code := house.type("train", "--resume", "latest", "--json", "--quiet"))[0] == 130:
            pass
    assert code[0] == 0 and json.loads(code[1].splitlines()[-1])["content_hash"] == whole


def test_learning_documents(house: House) -> None:  # promise 3
    run = house.learn(*SLOTS, "--propose.candidates", "4")["run"]
    with house.reader(run) as reader:
        [kept] = [step.name for step in reader.steps() if step.name == "round-0/kept"]
        chosen = {(s.task_id, s.index) for s in reader.selected()}
        directives = {c.proposal.edit.directives for c in reader.candidates() if (c.proposal.task_id, c.proposal.index) in chosen}
        assert kept and all(isinstance(c, Candidate) for c in reader.candidates()) and all(len(said) == 3 for said in directives)


def test_what_is_refused(house: House) -> None:  # promise 4
    assert "unknown directive 'epoch'; the nearest is 'epochs'" in house.refused("train", *QUICK, "--propose.directives", "epoch")
    assert "propose.directives is empty" in house.refused("eval", *QUICK, "--eval.baselines", "base", "default_directives")
    listed = house.fine("show", "directives")
    assert all(name in listed for name in ("lr", "epochs", "rank", "layers", "loss", "replay", "0.0005", "inner lora"))
