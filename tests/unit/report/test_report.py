"""The page says what the ledger holds, and nothing in it can run or reach out.

1. Numbers on the page are those recomputed from the ledger with SQL and stats.
2. Untrusted text is shown and never becomes markup; scripts run by their hash alone; nothing is fetched.
3. An unfinished run says what is missing, at every stage.
4. The gallery holds the best and the worst; unscored self-edits are counted, never shown as zero.
5. The same ledger gives the same page.
6. A training run goes from the base, over the passage alone and untrained self-edits, to its last round, and is judged by what training did:
   where the policy picks its strategies, by the difference to what it picked as it came.
7. What reward questions were answered with is in no table of results.
8. The verdict goes by F1, which falls with what else an answer says; right answers and what reciting would reach are named beside it.
9. A title that looks like the name of a colour is a title.
10. Self-edits are called picked where they were picked, whatever the recipe says of others.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import pytest
from tests.unit.report import story

from selfedit.config import Propose, Recipe
from selfedit.errors import LedgerError
from selfedit.ledger import Ledger, Reader
from selfedit.report import write
from selfedit.report.comparison import compare
from selfedit.report.results import as_results
from selfedit.report.rows import STRICT
from selfedit.report.words import percent, percent_range, points, points_range, signed
from selfedit.study import statistics as stats
from selfedit.study.chance import recital
from selfedit.system.console import Show, comparison
from selfedit.text import judge_answer
from selfedit.types import Answer, Candidate, Example, Prompt, Proposal, Question, Result, Reward, SelfEdit, Task, Turn

VOID = {"meta", "wbr", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements, text and scripts of a page; fails where elements do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.rows: dict[str, str] = {}
        self.text = ""
        self._open: list[str] = []
        self._arm = ""
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self._arm = dict(attrs).get("data-row") or ""
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "tr":
            self._arm = ""

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self._open and self._open[-1] != "style":
            self.text += data
            if self._arm:
                self.rows[self._arm] = self.rows.get(self._arm, "") + data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "story"
    story.tell(folder)
    return folder


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "training"
    story.tell_training(folder)
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page(write(run).read_text(encoding="utf-8"))


def marks(folder: Path, row: str) -> list[list[float]]:
    db = sqlite3.connect(folder / "ledger.db")
    query = (
        "SELECT task_id, correct FROM results JOIN answers ON result_id = results.id WHERE row = ? AND role = 'report' ORDER BY results.id, number"
    )
    groups: dict[str, list[float]] = {}
    for task_id, correct in db.execute(query, (row,)):
        groups.setdefault(task_id, []).append(correct)
    db.close()
    return list(groups.values())


def strict(folder: Path, row: str, measure: str = "f1") -> list[list[float]]:
    """The answers of the ledger, judged again."""
    db = sqlite3.connect(folder / "ledger.db")
    joined = "results JOIN answers ON result_id = results.id"
    query = f"SELECT task_id, prediction, gold FROM {joined} WHERE row = ? AND role = 'report' ORDER BY results.id, number"
    groups: dict[str, list[float]] = {}
    for task_id, prediction, gold in db.execute(query, (row,)):
        groups.setdefault(task_id, []).append(float(getattr(judge_answer(prediction, [gold]), measure)))
    db.close()
    return list(groups.values())


def test_numbers_are_those_of_the_ledger(run: Path, page: Page):
    for row in story.BASELINES:
        for found in (stats.interval(marks(run, row)), stats.interval(strict(run, row)), stats.interval(strict(run, row, "exact"))):
            assert percent(found.mean) in page.rows[row]
            assert percent_range(found) in page.rows[row]
            assert str(found.n) in page.rows[row]
    for baseline in ("base", "passage_only", "token_matched"):
        for of in (marks, strict):
            difference = stats.paired_difference(of(run, "after"), of(run, baseline))
            assert points(difference.mean) in page.rows["after"]
            assert points_range(difference) in page.rows["after"]
    for of, said in ((strict, f", {STRICT}, answers went from"), (marks, "The share of right answers went from")):
        before, after = stats.interval(of(run, "base")), stats.interval(of(run, "after"))
        told = f"{percent(before.mean)} ({percent_range(before)}) to {percent(after.mean)} ({percent_range(after)})"
        assert f"{said} {told}" in page.text
    assert f"On 48 held-out questions about 8 documents, {STRICT}" in page.text
    assert "The model learned." in page.text
    changed = sum(b < a for b, a in zip(chain(*marks(run, "base")), chain(*marks(run, "after")), strict=True))
    assert f"Wrong before, right after: {changed}" in page.text
    with Reader(run) as reader:
        assert reader.content_hash() in page.text
        assert f"{reader.cost().train_tokens:,}" in page.text


def test_figures_hold_the_numbers(run: Path, page: Page):
    drawn = {attrs["data-figure"]: json.loads(text) for attrs, text in page.scripts if "data-figure" in attrs}
    told = {name for name in drawn if not name.startswith("figure-property-")}
    assert told == {"figure-rows", "figure-gains", "figure-documents", "figure-rewards", "figure-rounds", "figure-with-reward"}
    first, chance, *others = zip(*(trace["x"] for trace in drawn["figure-rows"]["data"]), strict=True)  # correct and F1 of each row
    assert [first, *others] == [tuple(100 * stats.interval(of(run, row)).mean for of in (marks, strict)) for row in story.BASELINES]
    assert 0 < chance[1] < chance[0] < 5
    db = sqlite3.connect(run / "ledger.db")
    recorded = sorted(value for (value,) in db.execute("SELECT reward FROM candidates WHERE reward IS NOT NULL"))
    db.close()
    assert sorted(value for trace in drawn["figure-rewards"]["data"] for value in trace["x"]) == recorded
    plotly = pytest.importorskip("plotly.graph_objects")
    for figure in drawn.values():
        plotly.Figure(json.loads(re.sub(r'"\$[a-z]+"', '"#123456"', json.dumps(figure))))  # plotly refuses what it does not know


def colours(figure: object, key: str = "") -> Iterator[tuple[str, str]]:
    """What looks like the name of a colour, and under which key it stands."""
    if isinstance(figure, str) and re.fullmatch(r"\$[a-z]+", figure):
        yield key, figure
    for name, inner in figure.items() if isinstance(figure, dict) else [(key, one) for one in figure] if isinstance(figure, list) else []:
        yield from colours(inner, name)


def test_a_title_is_no_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # promise 9
    """The page replaces names of colours where a colour is expected, under keys that end in "color", and nowhere else."""
    monkeypatch.setattr(story, "TITLES", ["$accent", "$text", *story.TITLES[2:]])
    story.tell(tmp_path / "run")
    page = Page(write(tmp_path / "run").read_text(encoding="utf-8"))
    drawn = {attrs["data-figure"]: json.loads(text) for attrs, text in page.scripts if "data-figure" in attrs}
    assert "$accent" in drawn["figure-documents"]["layout"]["yaxis"]["ticktext"]
    found = [pair for figure in drawn.values() for pair in colours(figure)]
    assert {value for key, value in found if not key.endswith("color")} == {"$accent", "$text"}
    assert {value for key, value in found if key.endswith("color")} >= {"$accent", "$muted", "$ink", "$line", "$card"}
    [script] = [text for attrs, text in page.scripts if "type" not in attrs and "data-figure" in text]
    assert "/color$/.test(key)" in script


def test_chance_is_a_row(run: Path, page: Page):  # promise 8
    with Reader(run) as reader:
        tasks, found = reader.tasks(), compare(reader.tasks(), reader.results())
    assert [row.name for row in found.rows[:2]] == ["base", "chance"] and list(page.rows)[1] == "chance"
    expected = [[one.correct for one in recital(task.context, task.report_questions)] for task in tasks]
    assert found.rows[1].accuracy == stats.interval(expected)
    assert f"a random sentence of the right passage would reach {percent(found.rows[1].accuracy.mean)}." in page.text
    with Reader(run) as reader:
        unknown = compare([replace(task, context="") for task in tasks], reader.results())
    assert "chance" not in [row.name for row in unknown.rows] and unknown.headline and "random sentence" not in unknown.headline.sentence


def test_reciting_is_not_learning():  # promise 8
    """Twelve documents whose every answer is right after training and recites half the passage: the answers of before were as much right by F1."""
    passage = " ".join(f"In {1800 + n} the mill of number {n} was rebuilt by Ida Voss after the great flood." for n in range(6))
    tasks = [Task(f"t{n}", f"T{n}", passage, (), (Question("When was number 3 rebuilt?", "1803"),)) for n in range(12)]

    def result(row: str, said: str, right: bool) -> list[Result]:
        return [Result(row, task.id, (Answer(task.report_questions[0], said, right),)) for task in tasks]

    after, plain = result("after", passage, True), result("after", "1803", True)
    wrong = result("base", "In 1800", False)
    recited, learned = compare(tasks, [*wrong, *after]), compare(tasks, [*wrong, *plain])
    assert recited.headline and learned.headline and learned.headline.verdict == "The model learned."
    assert recited.headline.difference and recited.headline.difference.correct.mean == 1 and recited.headline.difference.f1.mean < 0.05
    assert recited.rows[-1].accuracy == learned.rows[-1].accuracy and recited.rows[-1].f1.mean < 0.05 and learned.rows[-1].f1.mean == 1
    half = compare(tasks, [*result("base", "1803 or 1804", True), *after])
    assert half.headline and half.headline.verdict == "The model got worse."


def test_of_several_right_answers_the_best_counts():  # promise 8
    question = Question("Who raised it?", "the miller of the village", aliases=("Hedda Ruskin",))
    found = compare([Task("t", "T", "", (), (question,))], [Result("base", "t", (Answer(question, "Hedda Ruskin", True),))])
    assert (found.rows[0].f1.mean, found.rows[0].exact.mean) == (1, 1)


def test_the_table_fits_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # promise 8
    monkeypatch.setenv("COLUMNS", "110")
    rows = ("base", "passage_only", "token_matched", "untrained", "more_edits", "best_of_k", "cold_start", "round-1", "round-2")
    story.tell_training(tmp_path / "run", {row: 0.1 * place for place, row in enumerate(rows)})
    with Reader(tmp_path / "run") as reader:
        found = compare(reader.tasks(), reader.results())
    comparison(Show(), replace(found, rows=[replace(row, seeds=3) for row in found.rows]))
    table, gains, kinds = capsys.readouterr().out.split("\n\n")[:3]
    assert table.split()[:11] == ["held-out", "questions", "correct", "95", "%", "interval", "F1", "95", "%", "interval", "exact"]
    assert {"A random sentence", "After 2 rounds"} <= {line[:17].strip() for line in table.splitlines()}
    assert "by F1" in gains and "blanks in the text, 16" in kinds
    assert all(len(line.rstrip()) <= 110 for part in (table, gains, kinds) for line in part.splitlines())
    assert "…" not in table + gains + kinds


def test_results_for_programs(run: Path):  # promise 8
    with Reader(run) as reader:
        found = as_results(compare(reader.tasks(), reader.results()))
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["base", "chance", *list(story.BASELINES)[1:]]
    for row in story.BASELINES:
        for measure, values in (("f1", strict(run, row)), ("exact", strict(run, row, "exact"))):
            wanted = stats.interval(values)
            assert rows[row][measure] == {"mean": wanted.mean, "low": wanted.low, "high": wanted.high}
    [over] = [d for d in found["differences"] if (d["of"], d["over"]) == ("after", "base")]
    wanted = stats.paired_difference(strict(run, "after"), strict(run, "base"))
    assert over["f1"] == {"mean": wanted.mean, "low": wanted.low, "high": wanted.high}


def test_untrusted_text_is_shown_and_never_becomes_markup(page: Page):
    assert story.HOSTILE in page.text
    assert not any(tag == "img" or any(name.startswith("on") for name in attrs) for tag, attrs in page.tags)
    labels = json.dumps([json.loads(text) for attrs, text in page.scripts if "data-figure" in attrs])
    assert "<script" not in labels
    assert "&lt;script" in labels


def test_nothing_is_fetched_and_scripts_run_by_their_hash(page: Page):
    harmless(page, scripts=2)


def harmless(page: Page, scripts: int) -> None:
    """Nothing is fetched, and only these scripts run."""
    for _, attrs in page.tags:
        assert not {"src", "srcset", "action", "ping", "poster", "background"} & set(attrs)
        assert (attrs.get("href") or "#").startswith("#")
    [policy] = [attrs["content"] or "" for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    run_scripts = [text for attrs, text in page.scripts if "type" not in attrs]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run_scripts}
    assert policy.startswith("default-src 'none';")
    assert set(re.findall(r"'sha256-[^']+'", policy)) == hashes
    assert len(hashes) == len(run_scripts) == scripts
    assert "unsafe-eval" not in policy


def test_the_gallery_and_the_unscored(run: Path, page: Page):
    with Reader(run) as reader:
        rewards = sorted((c.reward.value for c in reader.candidates() if c.reward.value is not None), reverse=True)
    gallery = page.text[page.text.index("The best") :]
    places = [gallery.index(signed(reward)) for reward in (*rewards[:3], *reversed(rewards[-3:]))]
    assert places == sorted(places)
    assert [tag for tag, attrs in page.tags if attrs.get("class") in ("card best", "card worst")] == ["article"] * 6
    assert "repeats itself" in page.text
    assert "said stop" in page.text


def test_every_turn_is_shown(run: Path, page: Page):
    with Reader(run) as reader:
        ranked = sorted((c for c in reader.candidates() if c.reward.value is not None), key=lambda c: c.reward.value, reverse=True)
    shown = [candidate.proposal.edit for candidate in (*ranked[:3], *reversed(ranked[-3:]))]
    gallery = page.text[page.text.index("The best") : page.text.index("What watched over the run")]
    assert {len(edit.turns) for edit in shown} == {1, story.SENTENCES}
    for turn in (turn for edit in shown for turn in edit.turns):
        assert turn.prompt.text in gallery
        assert turn.completion in gallery
        assert turn.prompt.given in gallery
    many = [edit for edit in shown if len(edit.turns) > 1]
    assert gallery.count(f" · written in {story.SENTENCES} turns, 1 of them cut off at the token limit · ") == len(many)
    assert gallery.count("a text to go on with") == story.SENTENCES * len(many)
    assert gallery.count("Completion, as the model wrote it") == len(shown) - len(many)


def test_answers_of_several_seeds(run: Path, page: Page):
    answers = story.QUESTIONS * story.SEEDS
    assert len(re.findall(rf"\d+ of {answers} answers to {story.QUESTIONS} reward questions right", page.text)) == 6
    spans = [attrs["rowspan"] for tag, attrs in page.tags if tag == "td" and "rowspan" in attrs]
    assert spans == [str(story.SEEDS)] * 2 * story.QUESTIONS * 6


def test_a_training_run(training: Path):
    page = Page(write(training).read_text(encoding="utf-8"))
    assert [row for row in page.rows if row != "chance"] == list(story.TRAINING_ARMS)
    assert "After 2 rounds" in page.rows["round-2"]
    assert "the policy after 2 rounds of training" in page.rows["round-2"]
    assert "on the passage alone" in page.rows["passage_only"]
    assert "for each document" in page.rows["untrained"]
    assert [attrs["data-row"] for tag, attrs in page.tags if tag == "tr" and attrs.get("class") == "final"] == ["round-2"]
    for row in story.TRAINING_ARMS:
        assert percent(stats.interval(marks(training, row)).mean) in page.rows[row]
    for baseline in ("base", "passage_only", "untrained"):
        assert points(stats.paired_difference(marks(training, "round-2"), marks(training, baseline)).mean) in page.rows["round-2"]
    headline = page.text[: page.text.index("The comparison")]
    assert "The model learned to write better self-edits." in headline
    assert "On 48 held-out questions about 8 documents that the policy never learned from" in headline
    for of in (strict, marks):
        stages = [percent(stats.interval(of(training, row)).mean) for row in ("base", "passage_only", "untrained", "round-2")]
        places = [headline.index(stage) for stage in stages]
        assert places == sorted(places)
    difference = stats.paired_difference(strict(training, "round-2"), strict(training, "untrained"))
    assert f"{points(difference.mean)} points, 95\u202f% interval {points_range(difference)}" in headline
    assert "and the policy never learned from any of these documents" in page.text
    parts = ["Preparing held-out questions", "Round 1", "Round 2", "Measuring on held-out documents"]
    assert all(part in page.text[page.text.index("By part of the run") :] for part in parts)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ({"base": 0.1, "passage_only": 0.2, "untrained": 0.3, "round-1": 0.3}, "No change of its self-edits that can be told from chance."),
        ({"base": 0.1, "passage_only": 0.2, "untrained": 0.9, "round-1": 0.2}, "Its self-edits got worse."),
        ({"base": 0.1, "passage_only": 0.2, "untrained": 0.9}, "The model learned."),
        ({"base": 0.1, "round-1": 0.9}, "The model learned."),
        ({"base": 0.1, "untrained": 0.9, "untrained_picks": 0.2, "round-1": 0.7}, "The model learned to write better self-edits."),
        ({"base": 0.1, "untrained_picks": 0.9, "round-1": 0.2}, "Its self-edits got worse."),
        ({"base": 0.1, "untrained": 0.9, "untrained_picks": 0.2}, "The model learned."),
        ({"base": 0.1, "untrained": 0.2, "best_strategy": 0.9}, "A better way to write self-edits was found."),
    ],
)
def test_what_training_came_to(tmp_path: Path, rows: dict[str, float], verdict: str):
    story.tell_training(tmp_path / "run", rows)
    assert verdict in Page(write(tmp_path / "run").read_text(encoding="utf-8")).text


def test_a_policy_that_picks(tmp_path: Path):
    folder = tmp_path / "run"
    story.tell_training(folder, {"base": 0.1, "untrained": 0.9, "untrained_picks": 0.2, "cold_start": 0.3, "round-1": 0.7})
    page = Page(write(folder).read_text(encoding="utf-8"))
    headline = page.text[: page.text.index("The comparison")]
    gained = stats.paired_difference(strict(folder, "round-1"), strict(folder, "untrained_picks"))
    fixed = stats.paired_difference(strict(folder, "round-1"), strict(folder, "untrained"))
    assert f"Over the untrained picks that is {points(gained.mean)} points, 95\u202f% interval {points_range(gained)}." in headline
    assert f"Over its best strategy for all documents, untrained, it is {points(fixed.mean)} points ({points_range(fixed)})." in headline
    assert "after training on the self-edits it picks and writes as it came" in headline and "points over untrained picks" in headline
    assert percent(stats.interval(marks(folder, "untrained")).mean) not in headline
    cold = stats.paired_difference(marks(folder, "cold_start"), marks(folder, "untrained_picks"))
    with Reader(folder) as reader:
        found = compare(reader.tasks(), [result for result in reader.results() if result.row in ("untrained", "untrained_picks")])
    assert found.final == "untrained" and [gain.over.name for gain in found.gains] == ["untrained_picks"]
    assert "Against “untrained picks”" in page.text and points(cold.mean) in page.rows["cold_start"]


@pytest.mark.parametrize(
    ("first", "is_pick"),
    [
        (Turn(Prompt("Best way:", True, "self-qa 61.0%, key-facts 39.0%"), " key-facts"), True),
        (Turn(Prompt("Which one?", given="key-facts 100.0%"), "key-facts"), True),
        (Turn(Prompt("Write the facts."), "key-facts"), False),
        (Turn(Prompt("Answer: the mill\nQuestion:", True, "the mill"), "key-facts"), False),
        (Turn(Prompt("Answer: key-facts\nQuestion:", True, "key-facts 3"), "What is it?"), False),
        (None, False),
    ],
)
def test_picks_are_the_first_turn(first: Turn | None, is_pick: bool):
    edit = SelfEdit("key-facts", (first,) if first else (), (), picked=is_pick)
    assert edit.pick == (first if is_pick else None) and edit.writing == (() if is_pick or not first else (first,))


@pytest.mark.parametrize("in_turn", [False, True])
def test_what_was_picked_is_called_so(tmp_path: Path, in_turn: bool):
    """As where an evaluation writes K self-edits in turn for `best_of_k`, under a recipe that picks."""
    recipe = Recipe(propose=Propose(strategies=("self-qa", "key-facts"), pick="policy"))
    picks = [Turn(Prompt("Best way:", True, "self-qa 61.0%, key-facts 39.0%"), f" {name}") for name in recipe.propose.strategies]
    edits = [SelfEdit(pick.completion.strip(), () if in_turn else (pick,), (Example("Passage."),), picked=not in_turn) for pick in picks]
    with Ledger.create(tmp_path / "run", command="eval", recipe=recipe, environment={}) as ledger:
        ledger.step("held-out", Task, lambda: [Task("t", "Title", "Passage.")])
        written = ledger.step("evaluate/untrained/edits/0-0", Proposal, lambda: [Proposal("t", 0, k, 0, edit) for k, edit in enumerate(edits)])
        candidates = [Candidate(proposal, Reward(0.1 * proposal.index, "likelihood")) for proposal in written]
        ledger.step("evaluate/best_of_k/candidates/0-0", Candidate, lambda: candidates)
    text = Page(write(tmp_path / "run").read_text(encoding="utf-8")).text
    assert "Strategies by round" in text and ("picked by the policy" in text) != in_turn


def test_reward_questions_are_in_no_table_of_results(run: Path, page: Page):
    with Reader(run) as reader:
        tasks = reader.tasks()
        assert all(answer.correct for result in reader.results("base", "reward") for answer in result.answers)
    assert page.rows["base"].count(str(sum(len(task.report_questions) for task in tasks))) == 1
    results = page.text[page.text.index("The comparison") : page.text.index("What the model wrote for itself")]
    assert "(report)" in results
    assert "(reward)" not in results


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        ((), ["no step was finished", "No self-edit", "before learning", "after learning", "No guard"]),
        (("tasks",), ["up to step “tasks”", "No self-edit", "before learning"]),
        (("tasks", "edits"), ["before learning", "after learning"]),
        (("tasks", "edits", "results"), ["run was interrupted"]),
    ],
)
def test_an_unfinished_run_says_what_is_missing(tmp_path: Path, told: tuple[str, ...], missing: list[str]):
    story.tell(tmp_path / "run", only=told)
    page = Page(write(tmp_path / "run", tmp_path / "elsewhere" / "page.html").read_text(encoding="utf-8"))
    assert "interrupted" in page.text
    for words in missing:
        assert words in page.text


def test_the_same_ledger_gives_the_same_page(run: Path, tmp_path: Path):
    assert write(run, tmp_path / "a.html").read_bytes() == write(run, tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_no_ledger_no_page(tmp_path: Path):
    with pytest.raises(LedgerError, match="no run at"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []
