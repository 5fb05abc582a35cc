"""A whole run: analysis.json, the page and the terminal say the same of the self-edits, and `learn` is measured too."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.house import QUICK, House

from selfedit.ledger import Reader
from selfedit.report.analysis import review
from selfedit.report.findings import as_analysis, sentences
from selfedit.types import Proposal


def test_a_whole_run(house: House) -> None:
    args = ("--propose.strategies", "self-qa", "key-facts", "--eval.seeds", "2", "--rounds", "1", "--reward", "likelihood")
    run = Path(json.loads(house.fine("train", *QUICK, *args, "--json", "--quiet"))["folder"])
    with Reader(run) as reader:
        found = review(reader)
        strategy = reader.step("evaluate/round-1/edits/0-0", Proposal)[0].edit.strategy
    assert found and found.held_out and found.rounds
    assert json.loads((run / "analysis.json").read_text(encoding="utf-8")) == json.loads(json.dumps(as_analysis(found)))
    assert [c.strategies for c in found.held_out.columns] == [{strategy: 1}] * 2 and len(found.rounds.columns[0].strategies) == 2
    assert found.held_out.columns[0].values["similarity"]  # two seeds are a group
    out, page = house.fine("show", run.name), (run / "report.html").read_text(encoding="utf-8")
    for sentence in sentences(found):
        assert sentence in out and sentence in page
    learned = Path(house.learn()["folder"])
    assert "What the self-edits are like" in (learned / "report.html").read_text(encoding="utf-8") and (learned / "analysis.json").exists()
