"""What the page and the files say of the self-edits is what the ledger holds.

1. Columns are the rounds and the rows in their order; a document counts once; changes are paired by document; novelty is against earlier columns.
2. Of the row `untrained` only the self-edits are looked at that it answers with. Where the policy picks, changes begin with its own first picks.
3. Where longer self-edits were made to have higher rewards, that is said, first in words; where nothing differs, that is.
   In an evaluation that is asked of what `best_of_k` chose from, never across seeds.
4. Edge cases read well: nothing written, one candidate, one document, no reward, no results yet, runs without self-edits.
5. The page holds the table, the figures and the examples; hostile text stays text.
6. Of a search nothing is said as if weights had changed.
(A whole run is in tests/unit/cli/test_analysis.py.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.unit.report.story import HOSTILE
from tests.unit.report.test_report import Page

from selfedit.config import Recipe, parse_recipe
from selfedit.ledger import Ledger, Reader
from selfedit.report import write, write_analysis
from selfedit.report.analysis import Analysis, review
from selfedit.report.findings import as_analysis, change, figure, sentences
from selfedit.study import statistics as stats
from selfedit.types import Answer, Candidate, Dropped, Example, Interval, Prompt, Proposal, Question, Result, Reward, SelfEdit, Task, Turn

WORDS = [f"word{number}" for number in range(20)]
Write = Callable[[int, int, int], SelfEdit]
"""A self-edit of a column (from 0; held-out ones begin anew), of a task, by its number in the group."""
Score = Callable[[int, int, int], float | None]


def edit(length: int, strategy: str = "key-facts", dropped: Sequence[str] = (), start: int = 0) -> SelfEdit:
    text = " ".join(WORDS[(start + i) % len(WORDS)] for i in range(length))
    examples = (Example(f"{HOSTILE}\n{text}"),) if length else ()
    pieces = tuple(Dropped(HOSTILE, reason) for reason in dropped)
    return SelfEdit(strategy, (Turn(Prompt(HOSTILE), text),) if length else (), (*examples, Example(f"{HOSTILE}\nPassage.")), pieces)


def longer(column: int, task: int, k: int) -> SelfEdit:
    return edit(5 + 4 * column + k + task % 2, start=task)


def max_t_pvalues(
    folder: Path,
    write: Write = longer,
    score: Score = lambda column, task, k: 0.1 * k,
    *,
    T: int = 7,
    K: int = 3,
    rounds: int = 2,
    held: bool = True,
    rows: Sequence[str] = (),
    algorithm: str = "rest_em",
) -> Analysis:
    rows = rows or (["untrained", *(f"round-{number + 1}" for number in range(rounds))] if held else [])
    tasks = [Task(f"{part}-{t}", HOSTILE, "Passage.", (), (Question(f"{part} {t}?", "yes"),)) for part in ("learn", "held") for t in range(T)]
    with Ledger.create(folder, command="train", recipe=parse_recipe({"algorithm": {"type": algorithm}}), environment={}) as ledger:
        ledger.step("tasks", Task, lambda: tasks[:T])
        ledger.step("held-out", Task, lambda: tasks[T:])
        for n, row in enumerate(rows):
            ledger.step(f"evaluate/{row}/edits/0-0", Proposal, lambda n=n: [Proposal(f"held-{t}", n, 0, 0, write(n, t, 0)) for t in range(T)])
        for r in range(rounds):
            proposals = [Proposal(f"learn-{t}", r, k, 0, write(r, t, k)) for t in range(T) for k in range(K)]
            ledger.step(f"round-{r}/edits", Proposal, lambda proposals=proposals: proposals)
            rewards = [Reward(score(r, i // K, p.index), "likelihood", "") for i, p in enumerate(proposals)]
            candidates = [Candidate(p, reward) for p, reward in zip(proposals, rewards, strict=True)]
            ledger.step(f"round-{r}/candidates-0", Candidate, lambda candidates=candidates: candidates)
        ledger.finish()
    with Reader(folder) as reader:
        found = review(reader)
    assert found is not None
    return found


def test_columns_are_those_of_the_ledger(tmp_path: Path) -> None:  # promise 1
    found = max_t_pvalues(tmp_path / "run")
    assert found.held_out and found.rounds and found.view is found.held_out and found.changing
    assert [c.name for c in found.held_out.columns] == ["untrained", "round-1", "round-2"]
    assert [c.tick for c in found.held_out.columns] == ["0", "1", "2"] and [c.tick for c in found.rounds.columns] == ["0", "1"]
    assert [(c.edits, c.tasks) for c in found.rounds.columns] == [(21, 7)] * 2
    lengths = [[5 + 4 + 1 + t % 2] for t in range(7)]  # the mean of three candidates in the second round
    assert found.rounds.columns[1].values["words"] == stats.interval(lengths, shares=False)
    change = found.held_out.changes["words"]
    assert change.interval == Interval(8, 8, 8, 7) and change.significant and change.p == pytest.approx(2 / 128)
    novelty = [c.values["novelty"] for c in found.held_out.columns]
    assert novelty[0] is None and novelty[1] is not None
    # of 5 + t % 2 words, then 4 more at the end: 3 + t % 2 trigrams of 7 + t % 2
    assert novelty[1].mean == pytest.approx(sum(1 - (3 + t % 2) / (7 + t % 2) for t in range(7)) / 7)
    assert found.held_out.columns[0].values["similarity"] is None and found.rounds.columns[0].values["similarity"] is not None


def test_the_untrained_arm_is_the_strategy_it_answers_with(tmp_path: Path) -> None:  # promise 2
    task = Task("t", "Title", "Passage.", (), (Question("Which?", "this"),))
    answers = {"self-qa": "that", "key-facts": "this"}
    with Ledger.create(tmp_path / "run", command="eval", recipe=Recipe(), environment={}) as ledger:
        ledger.step("held-out", Task, lambda: [task])
        edits = [Proposal("t", 0, k, 0, edit(5, strategy)) for k, strategy in enumerate(("self-qa", "key-facts", "self-qa", "key-facts"))]
        ledger.step("evaluate/untrained/edits/0-0", Proposal, lambda: edits)
        with Reader(tmp_path / "run") as reader:  # not answered yet: the first
            before = review(reader)
        for row, said in (*answers.items(), ("untrained", "this")):
            ledger.step(f"evaluate/{row}/0-0", Result, lambda row=row, said=said: [Result(row, "t", (Answer(task.report_questions[0], said, True),))])
    with Reader(tmp_path / "run") as reader:
        after = review(reader)
    assert before and after and before.view.columns[0].strategies == {"self-qa": 1} and after.view.columns[0].strategies == {"key-facts": 1}
    assert after.view.columns[0].edits == 1


def test_changes_begin_with_what_the_policy_picked(tmp_path: Path) -> None:  # promise 2
    def picked(column: int, task: int, k: int) -> SelfEdit:
        return edit((30, 5, 9)[column] + k + task % 2, start=task)  # the best strategy's are long

    found = max_t_pvalues(tmp_path / "run", picked, rounds=1, rows=("untrained", "untrained_picks", "round-1"))
    assert found.held_out and found.rounds and found.view.start == 1
    assert [(c.label, c.tick) for c in found.held_out.columns] == [("Untrained", "0"), ("Untrained picks", "picks"), ("After round 1", "1")]
    assert found.held_out.changes["words"].interval == Interval(4, 4, 4, 7) and found.rounds.columns[0].tick == "picks"
    assert sentences(found)[0].startswith("From “untrained picks” to “after round 1”") and "longer (words 5 → 9)" in sentences(found)[0]
    page = Page(write(tmp_path / "run").read_text(encoding="utf-8")).text
    assert "Last less “untrained picks”" in page and "by strategies that it picked" in page
    only = max_t_pvalues(tmp_path / "only", picked, rounds=0, rows=("untrained", "untrained_picks"))
    assert only.view.start == 0 and only.view.changes["words"].interval == Interval(-25, -25, -25, 7)


def test_an_evaluation_goes_by_what_was_chosen_from(tmp_path: Path) -> None:  # promise 3
    """Longer ones have higher rewards under each seed, and lower ones under the seed whose self-edits are longer."""
    T, K, tasks = 7, 3, [Task(f"held-{t}", HOSTILE, "Passage.", (), (Question(f"{t}?", "yes"),)) for t in range(7)]
    with Ledger.create(tmp_path / "run", command="eval", recipe=Recipe(), environment={}) as ledger:
        ledger.step("held-out", Task, lambda: tasks)
        for seed in range(2):
            edits = [Proposal(f"held-{t}", 0, 64 * seed + k, 0, edit(5 + k + 6 * seed, start=3 * k)) for t in range(T) for k in range(K)]
            ledger.step(f"evaluate/untrained/edits/{seed}-0", Proposal, lambda edits=edits: edits)
        with Reader(tmp_path / "run") as reader:
            before = review(reader)
        for seed in range(2):
            edits = ledger.step(f"evaluate/untrained/edits/{seed}-0", Proposal, lambda: [])
            candidates = [Candidate(p, Reward(0.1 * (p.index % 64) - seed, "likelihood")) for p in edits]
            for i, some in enumerate((candidates[:K], candidates[K:])):
                ledger.step(f"evaluate/best_of_k/candidates/{seed}-{i}", Candidate, lambda some=some: some)
    with Reader(tmp_path / "run") as reader:
        found = review(reader)
    assert before and found and not found.rounds and before.groups == 0 and not before.rewards
    assert sentences(before) == ["No document has two self-edits with a reward under one seed, so nothing can be said of what goes with it."]
    assert found.groups == 2 * T and found.differ and found.rewards["words"].interval == Interval(1, 1, 1, 2 * T)
    assert "novelty" not in found.rewards  # one seed's self-edits are not earlier than the other's
    assert "longer (words +1.00)" in sentences(found)[0]
    page = Page(write(tmp_path / "run").read_text(encoding="utf-8")).text
    assert "among the self-edits of a document under one seed" in page


@pytest.mark.parametrize(("algorithm", "first"), [("bandit", "Round 1"), ("archive", "Strategy 1")])
def test_of_a_search(tmp_path: Path, algorithm: str, first: str) -> None:  # promise 6
    found = max_t_pvalues(tmp_path / "run", rows=("untrained", "best_strategy"), algorithm=algorithm)
    assert found.search == algorithm and found.rounds and found.rounds.columns[0].label == first
    assert [c.tick for c in found.rounds.columns] == ["#1", "#2"] and [c.tick for c in found.view.columns] == ["0", "best"]
    page = Page(write(tmp_path / "run").read_text(encoding="utf-8")).text
    section = page[page.index("What changed in the self-edits") :]
    assert "training documents, whose self-edits are all written under the same weights" in section and "that the search found" in section
    assert ("of the archive" in section) == ("each that was tried (#)" in section) == (algorithm == "archive")
    assert ("that the bandit drew" in section) == ("each round of the bandit (#)" in section) == (algorithm == "bandit")
    for words in ("written after", "By rounds of training", "the policy that the round before it made"):
        assert words not in section


def test_learning_documents_searches_nothing(tmp_path: Path) -> None:  # promise 6
    with Ledger.create(tmp_path / "run", command="learn", recipe=parse_recipe({"algorithm": {"type": "bandit"}}), environment={}) as ledger:
        ledger.step("tasks", Task, lambda: [Task("t", "Title", "Passage.")])
        [one] = ledger.step("round-0/edits", Proposal, lambda: [Proposal("t", 0, 0, 0, edit(5))])
        ledger.step("round-0/candidates-0", Candidate, lambda: [Candidate(one, Reward(0.1, "likelihood"))])
    with Reader(tmp_path / "run") as reader:
        found = review(reader)
    assert found and not found.search and found.view.columns[0].written == "written by the untrained model"
    assert "by the bandit" not in write(tmp_path / "run").read_text(encoding="utf-8")


def test_what_goes_with_reward(tmp_path: Path) -> None:  # promise 3
    found = max_t_pvalues(tmp_path / "run")
    assert found.rewards["words"].interval == Interval(1, 1, 1, 14) and found.rewards["words"].significant and found.groups == 14
    changed, rewarded = sentences(found)
    assert changed.startswith(
        "From “untrained” to “after round 2”, self-edits about held-out documents became longer as written (words written 5 → 13)"
    )
    assert rewarded.startswith("Among the self-edits of a document, higher rewards went to those that are ") and "longer (words +1.00)" in rewarded
    found = max_t_pvalues(tmp_path / "other", score=lambda column, task, k: -0.1 * k)
    assert "shorter (words −1.00)" in sentences(found)[1]


def test_nothing_that_can_be_told(tmp_path: Path) -> None:  # promise 3
    same = max_t_pvalues(tmp_path / "same", lambda column, task, k: edit(6 + k), lambda column, task, k: ((k + task) % 3) * 0.1)
    assert sentences(same) == [
        "From “untrained” to “after round 2”, self-edits about held-out documents changed in no property that can be told from chance.",
        "No property of a self-edit goes with its reward so that it can be told from chance (14 groups of self-edits).",
    ]
    assert "No two rewards of a document differ" in sentences(max_t_pvalues(tmp_path / "tied", score=lambda column, task, k: 0.5))[1]
    few = max_t_pvalues(tmp_path / "few", T=2)
    assert "from 2 documents nothing can, it takes six" in sentences(few)[0] and not any(t.significant for t in few.rewards.values())


@pytest.mark.parametrize(
    ("write_one", "score", "shape", "said"),
    [
        (lambda column, task, k: edit(0, "passage-only"), lambda column, task, k: 0.1 * k, {}, "No self-edit teaches anything but the passage"),
        (lambda column, task, k: edit(0, dropped=["empty"]), lambda column, task, k: None, {}, "No self-edit teaches anything but the passage"),
        (lambda column, task, k: edit(6 * (task % 2)), lambda column, task, k: 0.1 * k, {}, "changed in no property"),
        (longer, lambda column, task, k: 0.1 * k, {"K": 1}, "No document has two self-edits with a reward"),
        (longer, lambda column, task, k: None, {}, "No document has two self-edits with a reward"),
        (longer, lambda column, task, k: 0.1 * k, {"T": 1}, "from 1 document nothing can"),
        (longer, lambda column, task, k: 0.1 * k, {"rounds": 1, "held": False}, "Among the self-edits of a document"),
        (longer, lambda column, task, k: 0.1 * k, {"held": False}, "self-edits about training documents became longer"),
    ],
)
def test_edge_cases_read_well(tmp_path: Path, write_one: Write, score: Score, shape: dict[str, int], said: str) -> None:  # promise 4
    found = max_t_pvalues(tmp_path / "run", write_one, score, **shape)
    page = Page(write(tmp_path / "run").read_text(encoding="utf-8"))
    assert said in page.text
    assert ("What changed in the self-edits" in page.text) == found.changing
    assert ("What the self-edits are like" in page.text) != found.changing
    json.dumps(as_analysis(found), allow_nan=False)


def test_runs_without_self_edits(tmp_path: Path) -> None:  # promise 4
    with Ledger.create(tmp_path / "run", command="train", recipe=Recipe(), environment={}):
        pass
    assert write_analysis(tmp_path / "run") is None and not (tmp_path / "run" / "analysis.json").exists()
    assert 'id="analysis"' not in write(tmp_path / "run").read_text(encoding="utf-8")


def test_the_page(tmp_path: Path) -> None:  # promise 5
    found = max_t_pvalues(
        tmp_path / "run", lambda column, task, k: edit(5 + 4 * column + k, HOSTILE if k else "key-facts", [f"the passage has no {HOSTILE!r}"])
    )
    page = Page(write(tmp_path / "run").read_text(encoding="utf-8"))
    assert not any(tag == "img" or any(name.startswith("on") for name in attrs) for tag, attrs in page.tags)
    section = page.text[page.text.index("What changed in the self-edits") :]
    for sentence in sentences(found):
        assert sentence in section
    assert HOSTILE in section and "the passage has no …" in section
    drawn = {attrs["data-figure"]: json.loads(text) for attrs, text in page.scripts if "data-figure" in attrs}
    assert {"figure-property-words", "figure-property-novelty", "figure-with-reward"} <= set(drawn)
    assert [trace["y"] for trace in drawn["figure-property-words"]["data"]] == [[6, 10], [5, 9, 13]]
    assert drawn["figure-property-words"]["layout"]["xaxis"]["categoryarray"] == ["0", "1", "2"]
    assert "<script" not in json.dumps(drawn)
    assert [attrs["data-property"] for tag, attrs in page.tags if "data-property" in attrs].count("words") == 2
    for words in ("One held-out document, policy by policy", "Round 2, lowest reward", "Round 2, highest reward", "After round 2"):
        assert words in section


def test_the_highest_and_the_lowest(tmp_path: Path) -> None:  # promise 5
    found = max_t_pvalues(tmp_path / "run", score=lambda column, task, k: None if k == 1 else 0.1 * k * (1 + (task == 4)) - column)
    assert found.extremes and found.extremes[0].id == "learn-4"
    assert [(s.label, s.reward) for s in found.extremes[1]] == [
        ("Round 1, lowest reward", 0),
        ("Round 1, highest reward", 0.4),
        ("Round 2, lowest reward", -1),
        ("Round 2, highest reward", -0.6),
    ]
    assert found.across and found.across[0].id == "held-0" and [s.values["words"] for s in found.across[1]] == [5, 9, 13]


def test_units() -> None:
    shown = [figure(value, name) for value, name in ((1234.4, "words"), (0.123, "coverage"), (2.344, "distinct"), (None, "novelty"))]
    assert shown == ["1,234", "12.3\u202f%", "2.34", "–"]
    assert (change(-0.123, "coverage"), change(12.4, "words"), change(0, "facts")) == ("−12.3", "+12", "0.0")
