"""The recipes that the project ships.

1. Each is a valid recipe.
2. Its page says what its results say. They are of the form that docs/comparisons.md describes, and hold what a comparison is worthless without.
3. The page of the puzzles' recipe can be made: every row has its name there, whatever it is called in a run, and pairs are compared.
4. `prepare.py` finds its passages in SQuAD as it is published, and says which are missing.
5. The picture of the matrix counts questions, over all sequences of a way; names are shown and never become markup.
6. `combine.py` adds a learned vector to adapters of passages, in every order, and writes its results.
7. Documents learned one after another: the ways that need penalties or go on from an adapter train what they say, on as many tokens as merging, and
   leave nothing behind.
"""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.test_report import Page, harmless
from tests.unit.tasks.copying import as_json, planted

from selfedit import api
from selfedit.config import load_recipe, parse_recipe
from selfedit.config.reading import read_toml
from selfedit.engine.fake import Fake
from selfedit.policy import Policy
from selfedit.policy.opening import open_policy
from selfedit.policy.proposing import propose
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Adapter, Trained, TrainJob

RECIPES = sorted(Path(__file__).parents[2].glob("recipes/*/recipe.toml"))
SQUAD = next(recipe.parent for recipe in RECIPES if recipe.parent.name == "squad-smollm2")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parent.name)
def test_recipes_are_valid(recipe: Path) -> None:  # promise 1
    settings = load_recipe(recipe)
    assert not set(settings.docs) & set(settings.eval_docs)
    assert (recipe.parent / "README.md").is_file()


def test_results_can_be_read_by_programs() -> None:  # promise 2
    results = json.loads((SQUAD / "results.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in results["rows"]}
    assert {"base", "passage_only", "untrained", "after_rl", "token_matched"} <= set(rows)
    for row in rows.values():
        assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 1 and row["n"] > 0 and row["seeds"] > 0 and row["tokens"] >= 0
    assert all(rows[name]["seeds"] >= 3 for name in ("passage_only", "untrained", "after_rl", "token_matched"))
    differences = {(d["of"], d["over"]): d for d in results["differences"]}
    assert {("after_rl", over) for over in ("base", "passage_only", "untrained", "token_matched")} <= set(differences)
    for (of, over), found in differences.items():
        assert found["low"] <= found["mean"] <= found["high"]
        if rows[of]["n"] == rows[over]["n"]:
            assert found["mean"] == pytest.approx(rows[of]["mean"] - rows[over]["mean"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("squad-qwen/results.json", {"base", "passage_only", "token_matched", "untrained", "cold_start", "after_rl"}),
        ("arc-smollm2/results.json", {"in_context", "default_edit", "random_edit", "untrained", "best_of_k", "after_round_1", "after_rl", "oracle"}),
        (
            "vector-smollm2/results.json",
            {"untouched", "zero", "random_vector", "gradient_step", "mean_edit", "es", "contextual_edit", "gradient", "few_shot"},
        ),
        ("vector-smollm2/results-qwen.json", {"untouched", "random_vector", "gradient_step", "mean_edit", "contextual_edit", "gradient", "few_shot"}),
    ],
)
def test_results_of_other_recipes(name: str, rows: set[str]) -> None:  # promise 2
    """Every row that the recipe promises, with intervals around its mean, and differences of rows that are there."""
    results = json.loads((SQUAD.parent / name).read_text(encoding="utf-8"))
    found = {row["name"]: row for row in results["rows"]}
    assert rows <= set(found) and all(0 <= row["low"] <= row["mean"] <= row["high"] <= 1 and row["n"] > 0 for row in found.values())
    assert results["differences"] and all(d["low"] <= d["mean"] <= d["high"] and {d["of"], d["over"]} <= set(found) for d in results["differences"])


def test_the_page_says_what_the_results_say() -> None:  # promise 2
    page = (SQUAD / "README.md").read_text(encoding="utf-8")

    def read(name: str) -> Any:
        return json.loads((SQUAD / f"results{name}.json").read_text(encoding="utf-8"))

    def share(value: float) -> str:
        return f"{100 * value:.1f}"

    def points(value: float) -> str:
        return f"{100 * value:+.1f}".replace("-", "−")

    for name, rows in ("", 7), ("-strategies", 6), ("-candidates", 4), ("-length", 3):
        named = {row["name"]: f"| {share(row['mean'])} | {share(row['low'])} to {share(row['high'])} |" for row in read(name)["rows"]}
        assert sum(f"| `{row}`" in line and told in line for line in page.splitlines() for row, told in named.items()) >= rows, name
    told = [f"| `{d['of']}` over `{d['over']}` | {points(d['mean'])} | {points(d['low'])} to {points(d['high'])} |" for d in read("")["differences"]]
    written = re.findall(r"^\| `.+` over `.+` \| [+−][\d.]+ \| .+$", page, flags=re.MULTILINE)
    assert len(written) == 12 and set(written) <= set(told)
    runs = [
        {(d["of"], d["over"]): f"{points(d['mean'])} ({points(d['low'])} to {points(d['high'])})" for d in read(f"-{n}-run")["differences"]}
        for n in ("first", "second")
    ]
    for of, over in ("round-1", "cold_start"), ("after_rl", "cold_start"), ("after_rl", "untrained"):
        assert f"| `{of}` over `{over}` | {runs[0][of, over]} | {runs[1][of, over]} |" in page


def test_kinds_are_combined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # promise 6
    combine = runpy.run_path(str(SQUAD.parent / "vector-smollm2" / "combine.py"))
    run = api.train(folder=tmp_path / "seed-0", edits="vector", engine="fake", limit=4, rounds=2, inner={"rows": ("base", "contextual_edit")})
    passages = [{"title": p.title, "context": p.context, "questions": [asdict(q) for q in p.questions]} for p in bundled_corpus("heldout")[:2]]
    file = tmp_path / "dev.jsonl"
    file.write_text("".join(json.dumps(one, default=list) + "\n" for one in passages))
    combine["main"]([str(file), "--run", str(run.folder.parent), "--out", str(tmp_path)], lambda recipe: Policy(Fake(), recipe))
    results = json.loads((tmp_path / "results-combined.json").read_text())
    names = [row["name"] for row in results["rows"]]
    assert names == ["untouched", "vector", "data", "data_and_vector", "vector_then_data"]
    assert {(d["of"], d["over"]) for d in results["differences"]} >= {("data_and_vector", "data"), ("vector", "untouched")}
    assert capsys.readouterr().out.count("F1") == len(names)


def test_passages_are_found_in_what_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # promise 4
    shutil.copy(SQUAD / "prepare.py", tmp_path)
    prepare = runpy.run_path(str(tmp_path / "prepare.py"))
    contexts = ("It was raised in 1847.", "The brook is cold.")
    wanted = {"train": [prepare["digest"](contexts[1])], "dev": [prepare["digest"](contexts[0])]}
    (tmp_path / "passages.json").write_text(json.dumps(wanted))
    asked = {"question": " When was it raised?", "answers": [{"text": "1847"}, {"text": "in 1847"}], "id": "0"}
    article: dict[str, Any] = {"title": "Tolmet_Weir", "paragraphs": [{"context": contexts[0], "qas": [asked]}]}
    (tmp_path / "published.json").write_text(json.dumps({"data": [article]}))
    with pytest.raises(SystemExit, match="cannot be read as SQuAD"):
        prepare["main"]([str(tmp_path / "nowhere.json")])
    with pytest.raises(SystemExit, match="1 of the 1 passages of train are not in"):
        prepare["main"]([str(tmp_path / "published.json")])
    article["paragraphs"].append({"context": contexts[1], "qas": []})
    (tmp_path / "published.json").write_text(json.dumps({"data": [article]}))
    prepare["main"]([str(tmp_path / "published.json")])
    [row] = map(json.loads, (tmp_path / "data" / "dev.jsonl").read_text().splitlines())
    assert row == {"title": "Tolmet Weir", "context": contexts[0], "questions": [{"question": "When was it raised?", "answer": "1847"}]}
    assert "data/train.jsonl: 1 passages, 0 questions" in capsys.readouterr().out
    assert set(json.loads((SQUAD / "passages.json").read_text())) == {"train", "shown", "dev", "train-first", "dev-first", "tuning"}


def test_puzzles_make_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 3
    recipe = RECIPES[0].parents[1] / "arc-smollm2"
    load_recipe(recipe / "seal.toml")
    module = runpy.run_path(str(recipe / "run.py"))
    docs = [tmp_path / f"{n}.json" for n in range(12)]
    for n, file in enumerate(docs):
        file.write_text(json.dumps(as_json(planted(str(n)))))
    small = {"engine": "fake", "docs": tuple(docs), "limit": 2, "rounds": 2, "domain": {"type": "arc", "sequences": 8}, "guards": ("training",)}
    few = {"propose": {"candidates": 2}, "baseline": {"best_directives": {"most": 2}}}
    runs = [module["trained"](recipe / "recipe.toml", tmp_path / "out", seed, **small, **few) for seed in (0, 1)]
    assert module["trained"](recipe / "recipe.toml", tmp_path / "out", 0).folder == runs[0].folder, "a finished run is not made again"
    results = module["table"]([module["rows_of"](run) for run in runs])
    names = ["in_context", "untrained", "default_edit", "random_edit", "best_of_k", "oracle", "after_round_1", "after_rl"]
    assert sorted(row["name"] for row in results["rows"]) == sorted(names)
    assert all(0 <= row["low"] <= row["mean"] <= row["high"] <= 1 and (row["n"], row["seeds"]) == (2, 2) for row in results["rows"])
    pairs = {(one["of"], one["over"]) for one in results["differences"]}
    assert {("after_rl", over) for over in ("in_context", "default_edit", "random_edit", "untrained", "best_of_k")} <= pairs
    argv = ["run.py", "--recipe", str(recipe / "recipe.toml"), "--out", str(tmp_path / "out"), "--seeds", "2"]
    monkeypatch.setattr("sys.argv", argv)
    module["main"]()
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results and len(capsys.readouterr().out.splitlines()) == len(names)


def test_the_picture_of_the_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 5
    recipe = RECIPES[0].parents[1] / "continual-smollm2"
    monkeypatch.syspath_prepend(str(recipe))
    picture = runpy.run_path(str(recipe / "picture.py"))

    def write(place: str, asked: list[int], learned: list[int], kept: list[int], matrix: list[list[float]]) -> None:
        scores = [[[[float(n < right), 0.0] for n in range(of)] for of, right in zip(asked, some, strict=True)] for some in (learned, kept)]
        file = tmp_path / "out" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"immediate": scores[0], "final": scores[1], "matrix": matrix, "tokens": 600, "seconds": 20.0}))

    def run(*args: str) -> None:
        monkeypatch.setattr("sys.argv", ["picture.py", str(tmp_path / "out"), *args])
        picture["main"]()

    with pytest.raises(SystemExit, match="nothing was learned in"):
        run()
    write("2-0/library.json", [1, 3], [1, 3], [1, 3], [[0, 0], [1, 0], [1, 1]])
    write("2-1/library.json", [1, 1], [0, 1], [0, 1], [[0, 0], [0, 0], [0, 1]])
    write("2-0/merge.json", [1, 3], [1, 3], [0, 3], [[0, 0], [1, 0], [0, 1]])
    write("2-0/<img src=x>.json", [1, 3], [1, 0], [1, 0], [])
    write("2-0/untouched.json", [1, 3], [0, 1], [0, 1], [])
    write("2-2/merge.json", [1], [1], [1], [[0], [1]])  # no passages were left for its second document
    run()
    ways = picture["found"](tmp_path / "out")[2]
    assert [one.name for one in ways] == ["untouched", "library", "merge", "<img src=x>"]
    _, library, merge, other = ways
    assert (library.sequences, library.asked, library.learned, library.tokens, library.seconds) == (2, [2, 4], [1, 4], 300, 10)
    assert library.all == [0, 1 / 6, 5 / 6] and library.so_far == [1 / 2, 5 / 6] and library.change == [0, 0] and library.lost == 0
    assert merge.sequences == 1 and merge.change == [0, -1 / 4] and merge.lost == 1 / 4 and other.matrix == []
    page = Page(Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8"))
    assert "library answers 83.3\u202f% of the questions rightly" in page.text and "merge loses most: from 100.0\u202f% to 75.0\u202f%" in page.text
    assert "<img src=x>" in page.rows["<img src=x>"] and not any(tag == "img" for tag, _ in page.tags)
    harmless(page, scripts=2)
    figures = {attrs["data-figure"]: json.loads(text) for attrs, text in page.scripts if "data-figure" in attrs}
    assert [line["name"] for line in figures["figure-change-2"]["data"]] == ["untouched", "library", "merge"]
    assert sum(tag == "rect" for tag, _ in page.tags) == 3 * 3 * 2 + 4 * 2 * 2


@pytest.mark.parametrize("name", ["growing_adapter", "ewc", "o_lora"])
def test_ways_to_change_a_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 7
    recipe = RECIPES[0].parents[1] / "continual-smollm2"
    monkeypatch.syspath_prepend(recipe)
    stream, ways = (importlib.import_module(module) for module in ("stream", "ways"))
    policy = open_policy(parse_recipe(read_toml(recipe / "recipe.toml") | {"engine": {"type": "fake"}}))
    tasks = policy.domain.tasks(policy, bundled_corpus("train")[:3], "learn", lambda done, of: None)
    edits = [one.edit.examples for one in propose(policy, tasks, 0, policy.recipe.propose)]
    jobs: list[TrainJob] = []
    made: list[Adapter | None] = []
    train = policy.engine.train

    def noted(some: Sequence[TrainJob], progress: Any = None) -> list[Trained]:
        jobs.extend(some)
        trained = train(some, progress)
        made.extend(one.adapter for one in trained)
        return trained

    monkeypatch.setattr(policy.engine, "train", noted)
    merged, found = (ways.WAYS[way](stream.Stream(policy, tasks, edits, (), tmp_path, (), whole=True)) for way in ("merge", name))
    plain, own = jobs[:3], jobs[3:]
    assert [replace(job, start=None, penalties=()) for job in own] == plain and found.tokens == merged.tokens
    assert [len(row) for row in found.matrix] == [3] * 4 and found.matrix[-1] == stream.right(found.final)
    assert [job.start for job in own] == ([None] * 3 if name == "o_lora" else [None, *made[3:5]])
    held = [[type(penalty).__name__ for penalty in job.penalties] for job in own]
    assert held == [[], *([[]] * 2 if name == "growing_adapter" else [["EWC" if name == "ewc" else "OLoRA"]] * 2)]
    assert name != "ewc" or [job.penalties[0].uses[0] for job in own[1:]] == made[3:5]
    assert name != "o_lora" or [len(job.penalties[0].uses) for job in own[1:]] == [1, 2]
    assert not policy.engine._adapters and not policy.engine._merged  # type: ignore[attr-defined]
