"""The table of `train` and `eval`: rows that differ in what they are called after, and in nothing else.

1. Every row that is named is a row; results.json, the terminal and the page say the same, and the numbers are those of the ledger.
2. The best of K is the one a round would select; all K edits are learned as one; `untrained` is the strategy that is best on reward questions.
3. Controls are trained on as many tokens as what they control, to half an epoch.
4. The oracle learns every question in other wordings than the one it is asked, and all are asked; without other wordings it is left out, and said.
5. Adapters of one document and seed begin alike in every row; other seeds write and train anew.
6. `eval --policy` finds what `train` found. A comparison that is stopped in any cell goes on there, and repeats none.
7. An unknown row is refused with the nearest, and so is one that a run makes by itself.
8. The cold start is a row of its own, between what is untrained and the rounds; the rounds do without its documents, and a run resumes across it.
9. What is shown can be the user's: completions or questions; what cannot be understood is refused with its line.
10. A policy that picks strategies does so in every row of its own; before any update that is `untrained_picks`, while `untrained` is the best
    fixed one; `eval --policy` finds them again.
"""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.house import CORPUS, QUICK, House, baselines

from selfedit import parts
from selfedit.algorithms import rest_em
from selfedit.algorithms.base import Trainable, outer_job
from selfedit.baselines.base import matched
from selfedit.baselines.oracle import folds
from selfedit.cli.results import compared as table
from selfedit.engine.fake import Fake
from selfedit.ledger import Reader
from selfedit.loop.evaluate import STRIDE, cell
from selfedit.loop.run import Run
from selfedit.study import statistics as stats
from selfedit.tasks.knowledge.split import bundled_corpus, divide
from selfedit.types import Datum, Proposal, Question, Result, Selected, Task, TrainJob

BASELINES = baselines()
ALL = ("--eval.baselines", *BASELINES)


def rows(run: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in results(run)["rows"]}


def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return found


def compared(house: House, *args: str) -> Path:
    """The folder of a run of `eval` or `train`."""
    return Path(json.loads(house.fine(args[0], *QUICK, *args[1:], "--json", "--quiet"))["folder"])


def test_every_baseline_is_a_row(house: House) -> None:  # promise 1
    run = compared(house, "train", *ALL, "--rounds", "1", "--eval.seeds", "2")
    matching = [name for name in BASELINES if name in ("token_matched", "more_edits")]  # in the order in which they were asked for
    measured = [*(name for name in BASELINES if name not in matching), "after_rl", *matching]
    assert [name for name in rows(run) if name != "chance"] == measured
    with Reader(run) as reader:
        by_row: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
        for result in reader.results():
            by_row[result.row][result.task_id].append([float(a.correct) for a in result.answers])
    means = {row: [stats.over_seeds(seeds) for seeds in tasks.values()] for row, tasks in by_row.items()}
    for name, groups in means.items():
        want, row = stats.interval(groups), rows(run)["after_rl" if name == "round-1" else name]
        assert (row["mean"], row["n"]) == (want.mean, want.n) and row["low"] == max(0, want.low) and row["high"] == min(1, want.high)
        assert row["seeds"] == (1 if name == "base" else 2)
    differences = {(d["of"], d["over"]): d for d in results(run)["differences"]}
    assert {over for of, over in differences if of == "after_rl"} == set(rows(run)) - {"after_rl", "chance"}
    want, found = stats.paired_difference(means["round-1"], means["best_of_k"]), differences["after_rl", "best_of_k"]
    assert (found["mean"], found["low"], found["high"]) == (want.mean, want.low, want.high)
    out, page = house.fine("show", run.name), (run / "report.html").read_text(encoding="utf-8")
    labels = {row.name: row.label for row in table(run).rows if row.name != "chance"}  # which is computed, and no baseline
    assert labels == {name: parts.words("baseline", name)["label"] for name in BASELINES} | {"round-1": "After 1 round"}
    for name, label in labels.items():
        assert label in out and f'data-row="{name}"' in page
    assert "“After 1 round” over" in out and "figure-gains" in page


def test_what_is_learned_from(house: House) -> None:  # promise 2
    run = compared(house, "eval", *ALL, "--propose.strategies", "self-qa", "span-qa", "--propose.candidates", "3", "--eval.seeds", "2")
    with Reader(run) as reader:
        candidates, tokens = reader.candidates(), {(r.row, r.task_id, r.seed): r.tokens for r in reader.results()}
        chosen, reported = reader.results(role="reward"), reader.results()
        assert not reader.selected()
    groups: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.proposal.task_id, candidate.proposal.index // STRIDE].append(candidate)
    assert len(groups) == 3 * 2 and {len(group) for group in groups.values()} == {3}
    for (task, seed), group in groups.items():
        [best] = rest_em.best(group, 1)
        assert best == Selected(task, 0, best.index) and tokens["best_of_k", task, seed] == next(
            c.tokens for c in group if c.proposal.index == best.index
        )
        assert tokens["random_edit", task, seed] in {c.tokens for c in group}
        assert max(c.tokens for c in group) < tokens["all_edits", task, seed] < sum(c.tokens for c in group)
    right = {row: [a.correct for r in chosen if r.row == row for a in r.answers] for row in ("self-qa", "span-qa")}
    best_row = max(right, key=lambda row: sum(right[row]))
    assert [r.answers for r in reported if r.row == "untrained"] == [r.answers for r in reported if r.row == best_row]


def test_controls_have_as_many_tokens(house: House) -> None:  # promise 3
    run = compared(house, "train", *ALL, "--rounds", "1", "--eval.seeds", "2")
    with Reader(run) as reader:
        tokens = {(r.row, r.task_id, r.seed): r.tokens for r in reader.results()}
    for (row, task, seed), wanted in tokens.items():
        if row == "round-1":
            assert abs(tokens["token_matched", task, seed] - wanted) <= tokens["passage_only", task, seed] / 6 / 2
            assert abs(tokens["more_edits", task, seed] - wanted) <= wanted / 6


def test_matched_jobs() -> None:  # promise 3
    job = TrainJob((Datum((1,) * 10, (1.0,) * 10), Datum((1,) * 30, (1.0,) * 30)), epochs=6)
    assert [matched(job, tokens).epochs for tokens in (1, 59, 61, 240, 1000)] == [1, 1, 2, 6, 25]


def test_the_oracle_learns_other_wordings() -> None:  # promise 4
    for passage in bundled_corpus("heldout"):
        task = divide(passage, 0.5, 0)
        assert sorted(q.question for _, asked in folds(task) for q in asked) == sorted(q.question for q in task.report_questions)
        for learned, asked in folds(task):
            assert not {q.question for q in learned} & {q.question for q in asked}
            assert {(q.fact, q.answer) for q in asked} <= {(q.fact, q.answer) for q in learned}
    uneven = [Question(f"{fact}{n}?", fact, fact=fact) for fact, many in (("a", 2), ("b", 3)) for n in range(many)]
    assert [[q.question for q in asked] for _, asked in folds(Task("t", "T", "C", (), tuple(uneven)))] == [
        ["a0?", "b0?"],
        ["a1?", "b1?"],
        ["b2?"],
    ]


def test_what_cannot_be_measured_is_said(house: House) -> None:  # promise 4
    lines = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()[:3]]
    for line in lines:
        line["questions"] = [{key: q[key] for key in ("question", "answer")} for q in line["questions"]]
    Path("bare.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    run = compared(house, "eval", "--eval-docs", "bare.jsonl", *ALL)
    assert {left["name"]: left["why"] for left in results(run)["left_out"]} == {
        "oracle": "18 of 18 report questions have no other wording to learn from",
        "more_edits": "there is no trained policy whose tokens it could match",
    }
    assert "oracle" not in rows(run)
    out, page = house.fine("show", run.name), (run / "report.html").read_text(encoding="utf-8")
    assert "Oracle: left out, 18 of 18" in out and "Oracle: left out, " in page
    run = compared(house, "eval", "--eval.baselines", "base", "token_matched")
    assert list(rows(run)) == ["base", "chance"] and "name `untrained` too" in house.fine("show", run.name)


def test_rows_are_paired_by_seed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 5
    jobs: list[TrainJob] = []
    train = Fake.train
    monkeypatch.setattr(Fake, "train", lambda self, given, progress=None: (jobs.extend(given), train(self, given, progress))[1])
    run = compared(house, "eval", "--eval.baselines", "passage_only", "untrained", "all_edits", "oracle", "--eval.seeds", "2")
    with Reader(run) as reader:
        tasks, proposals = reader.tasks(), reader.proposals()
    seeds: dict[int, int] = defaultdict(int)
    for job in jobs:
        seeds[job.seed] += 1
    assert set(seeds.values()) == {5} and len(seeds) == 2 * len(tasks)  # four rows, one of them with two adapters
    written = {(p.task_id, p.index): p for p in proposals}
    assert len(written) == len(tasks) * 2 * 2 and len({p.seed for p in proposals}) == len(written)
    assert any(_text(written[t.id, 0]) != _text(written[t.id, STRIDE]) for t in tasks)


def _text(proposal: Proposal) -> list[str]:
    return [turn.completion for turn in proposal.edit.turns]


def test_a_policy_is_measured_alike_later(house: House) -> None:  # promise 6
    train = compared(house, "train", *ALL, "--rounds", "2")
    found = Path(json.loads(house.fine("eval", "--policy", train.name, "--json", "--quiet"))["folder"])
    assert results(found) == results(train)


@pytest.mark.parametrize("search", ["archive", "bandit"])
def test_a_found_strategy_is_measured_alike_later(search: str, house: House) -> None:  # promise 6
    strategies = ("--propose.strategies", "passage-only", "key-facts", *(("--propose.mix", "2") if search == "bandit" else ()))
    train = compared(house, "train", "--algorithm", search, *strategies, "--rounds", "3", "--cold-start.enabled")
    found = Path(json.loads(house.fine("eval", "--policy", train.name, "--json", "--quiet"))["folder"])
    assert results(found) == results(train)
    with Reader(found) as reader:
        assert reader.rows()[-2:] == ["best_strategy", "token_matched"]


def test_no_cell_is_repeated(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    args = ("eval", *ALL, "--eval.seeds", "2", "--chunk", "2", *QUICK, "--quiet")
    whole = json.loads(house.fine(*args, "--json"))
    done: list[tuple[str, int, tuple[str, ...]]] = []
    stop_at = 0

    def watched(run: Run, row: str, seed: int, plan: Any, tasks: list[Task], progress: Any) -> list[Result]:
        nonlocal stop_at
        if len(done) == stop_at:
            stop_at += 3
            raise KeyboardInterrupt
        done.append((row, seed, tuple(task.id for task in tasks)))
        return cell(run, row, seed, plan, tasks, progress)

    monkeypatch.setattr(importlib.import_module("selfedit.loop.evaluate"), "cell", watched)
    assert house.type(*args, "--runs", "stopped")[0] == 130
    stops = 1
    while (typed := house.type("eval", "--resume", "latest", "--runs", "stopped", "--json", "--quiet"))[0] == 130:
        stops += 1
    assert typed[0] == 0, typed[2]
    assert json.loads(typed[1])["content_hash"] == whole["content_hash"]
    assert len(done) == len(set(done)) and stops > 5


def test_an_unknown_baseline(house: House) -> None:  # promise 7
    Path("r.toml").write_text('[eval]\nbaselines = ["base", "best_of_n"]\n', encoding="utf-8")
    said = "eval.baselines: unknown baseline 'best_of_n'; the nearest is 'best_of_k' (there are: "
    line = house.refused("train", "--eval.baselines", "base", "best_of_n")
    assert line.startswith(f"2 recipe: {said}") and "more_edits" in line and "cold_start" not in line  # which a run makes by itself
    assert house.refused("eval", "r.toml").startswith(f"2 r.toml: {said}")


@pytest.mark.parametrize("name", ["after", "cold_start", "round", "best_strategy", "untrained_picks"])
def test_rows_that_a_run_makes_by_itself_cannot_be_asked_for(house: House, name: str) -> None:  # promise 7
    line = house.refused("eval", *QUICK, "--eval.baselines", "base", name)
    assert line.startswith(f"2 recipe: eval.baselines: row '{name}' is made by a run itself and cannot be asked for"), line


COLD = ("--cold-start.enabled", "--cold-start.passages", "4")


def test_the_cold_start_is_a_row(house: House) -> None:  # promise 8
    run = compared(house, "train", *COLD, "--limit", "31", "--propose.candidates", "1", "--rounds", "1")
    names = list(rows(run))
    assert names.index("untrained") < names.index("cold_start") < names.index("after_rl")
    assert {("after_rl", "cold_start"), ("cold_start", "untrained")} <= {(d["of"], d["over"]) for d in results(run)["differences"]}
    with Reader(run) as reader:
        learned = reader.step("tasks", Task)
        assert [artifact.path for artifact in reader.artifacts()] == ["policy/cold_start", "policy/round-1"]
    last = {passage.context for passage in bundled_corpus("train")[-4:]}
    assert len(learned) == 29 and not last & {task.context for task in learned}
    assert "After the cold start" in house.fine("show", run.name) and "Over the cold start alone" in (run / "report.html").read_text(encoding="utf-8")


def test_a_cold_start_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 8
    args = ("train", *COLD, "--limit", "6", "--propose.candidates", "1", "--rounds", "1")
    run = compared(house, *args)
    with Reader(run) as reader:
        content = reader.content_hash()
    for name in ("warm_up", "learn"):  # stopped before the cold start, and after it
        with monkeypatch.context() as patch:
            patch.setattr(f"selfedit.loop.train.{name}", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            assert house.type("train", *QUICK, *args[1:], "--runs", name)[0] == 130
        found = json.loads(house.fine("train", "--resume", "latest", "--runs", name, "--json", "--quiet"))
        assert found["content_hash"] == content
    measured = Path(json.loads(house.fine("eval", "--policy", run.name, "--json", "--quiet"))["folder"])
    assert results(measured) == results(run)


def test_the_policy_learns_what_is_shown(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 9
    taught: list[str] = []

    def watched(settings: Trainable, data: tuple[Datum, ...], seed: int) -> TrainJob:
        learned = [[token for token, weight in zip(datum.tokens, datum.weights, strict=True) if weight] for datum in data]
        taught.extend(map(Fake().tokenizer.decode, learned))
        return outer_job(settings, data, seed)

    monkeypatch.setattr("selfedit.loop.train.outer_job", watched)
    one = {"title": "Corve Mill", "context": "Corve Mill was built by Edda Stannis in 1688. Its wheel is of larch."}
    lines = [
        {**one, "completion": "1. Edda Stannis built it."},
        {**one, "questions": [{"question": "Who built Corve Mill?", "answer": "Edda Stannis"}]},
    ]
    Path("shown.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    show = ("--cold-start.enabled", "--cold-start.examples", "shown.jsonl")
    compared(house, "train", *show, "--rounds", "1", "--propose.strategies", "key-facts", "self-qa")
    # a list of facts is no example for one who is to ask questions
    assert taught == ["1. Edda Stannis built it.", "Question: Who built Corve Mill?\nAnswer: Edda Stannis"]
    assert "no good self-edit for rewrite" in house.refused("train", *QUICK, *COLD, "--propose.strategies", "rewrite")
    assert "the rounds have none left" in house.refused("train", *QUICK, "--cold-start.enabled", "--cold-start.passages", "33")
    Path("shown.jsonl").write_text(json.dumps(one), encoding="utf-8")
    line = house.refused("train", *QUICK, *show)
    assert line.startswith("3 shown.jsonl, line 1: neither a 'completion' to learn from nor 'questions' to make one of"), line


def test_a_policy_that_picks(house: House) -> None:  # promise 10
    mixed = ("--propose.strategies", "self-qa", "key-facts", "passage-only", "--propose.pick", "policy", "--propose.mix", "2")
    run = compared(house, "train", *mixed, *COLD, "--rounds", "1", "--algorithm", "grpo", "--reward", "likelihood", "--eval.seeds", "2")
    pairs = {"self-qa+key-facts", "self-qa+passage-only", "key-facts+passage-only"}
    names = list(rows(run))
    assert pairs < set(names) and names.index("untrained") < names.index("untrained_picks") < names.index("cold_start") < names.index("after_rl")
    with Reader(run) as reader:
        written = {row: reader.step(f"evaluate/{row}/edits/1-0", Proposal) for row in ("untrained", "untrained_picks", "cold_start", "round-1")}
        learned = reader.step("round-0/edits", Proposal)
    assert {p.edit.strategy for p in written["untrained"]} == pairs
    for row, some in written.items():
        assert all(("%" in p.edit.turns[0].prompt.given) == (row != "untrained") and p.edit.strategy in pairs for p in some)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Untrained picks" in page and "+passage-only, picked by the policy · round 1" in page and "%, self-qa+" in page
    one = next(p for p in learned if p.index == 1)
    assert "drawn from: " in house.fine("show", run.name, "--candidate", f"{one.task_id}:0:1")
    found = Path(json.loads(house.fine("eval", "--policy", run.name, "--json", "--quiet"))["folder"])
    assert results(found) == results(run)
    line = house.refused("train", *QUICK, "--propose.pick", "policy")
    assert "name several in propose.strategies" in line, line
    assert "unknown strategy 'key-fact'" in house.refused("train", *QUICK, "--propose.strategies", "self-qa+key-fact")
