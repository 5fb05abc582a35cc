"""`selfedit eval --reliability` and the flags of `--prefilter`.

1. The tables, the report and `reliability.json` come from one run; --json prints the same line; resuming repeats nothing and ends the same.
2. What cannot go together is refused in one line.
3. `learn --prefilter` trains only the survivors in full.
"""

from __future__ import annotations

import json

from tests.unit.cli.house import CORPUS, QUICK, House

MIXED = ("--propose.strategies", "self-qa", "key-facts", "--reward", "likelihood", "--reliability.seeds", "2")


def test_reliability(house: House) -> None:  # promise 1
    out = house.fine("eval", "--reliability", *QUICK, *MIXED)
    for words in (
        "Reliability over inner-loop seeds (3 tasks, 6 self-edits, 2 seeds",
        "correctness",
        "looks like",
        "successive halving",
        "in context",
    ):
        assert words in out
    [run] = (house.folder / "runs").iterdir()
    found = json.loads((run / "reliability.json").read_text(encoding="utf-8"))
    assert {reward["name"] for reward in found["rewards"]} == {"correctness", "likelihood", "mix"} and found["seeds"] == 2
    with house.reader(run.name) as reader:
        steps, content = [step.name for step in reader.steps()], reader.content_hash()
        titles = {task.title for task in reader.tasks()}
    learned_from = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    assert titles <= {row["title"] for row in learned_from if row.get("split") == "train"} and titles
    assert steps[:3] == ["tasks", "trials/base", "trials/edits"] and "trials/gradient-0-0" in steps
    assert json.loads(house.fine("eval", "--resume", run.name, "--json", "--quiet")) == found
    with house.reader(run.name) as reader:
        assert reader.content_hash() == content
    assert 'id="reliability"' in (run / "report.html").read_text(encoding="utf-8")


def test_what_cannot_go_together(house: House) -> None:  # promise 2
    assert "leave out --policy" in house.refused("eval", "--reliability", "--policy", "latest")
    assert "a resumed run keeps what it began with" in house.refused("eval", "--reliability", "--resume", "latest")
    assert "leave out --policy" not in (line := house.refused("eval", "--reliability", "--reward", "majority")) and "choose another reward" in line
    assert "--prefilter.rungs is a setting of the prefilter halving; choose it with --prefilter" in house.refused(
        "learn", "x", "--prefilter", "gradient", "--prefilter.rungs", "1"
    )
    assert "reliability.seeds" in house.refused("eval", "--reliability", "--reliability.seeds", "1")
    assert "unknown prefilter 'luck'" in house.refused("eval", "--reliability", "--reliability.prefilters", "luck")


def test_learn_with_a_prefilter(house: House) -> None:  # promise 3
    run = house.learn("--propose.candidates", "4", "--prefilter", "halving", "--prefilter.keep", "1", "--prefilter.rungs", "1")["run"]
    with house.reader(run) as reader:
        assert len(reader.proposals()) == 12 and len(reader.ratings()) == 12 and len(reader.candidates()) == len(reader.selected()) == 3
