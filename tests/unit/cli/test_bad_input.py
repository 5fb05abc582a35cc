"""What a user can get wrong is one line that says what to do, with the exit code of its kind; nothing is left behind and no traceback is shown.

1. Documents that cannot be read fail before a model is opened.
2. Misspelt commands, options, recipe keys, strategies, models and runs name the nearest right one.
3. Values out of range, of the wrong type or for another engine name the option.
4. Something nobody thought of is one line and a traceback in a file of the run folder; with --debug on the screen.
5. A run folder that came to nothing is not left behind; one with finished steps is, and says how to go on.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.unit.cli.house import CORPUS, QUICK, House

from selfedit.ledger import Ledger
from selfedit.store.runs import begun


def write(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return name


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.txt", b"", "empty.txt is empty"),
        ("binary.txt", b"abc\0def", "binary.txt is binary"),
        ("latin.txt", "Käse".encode("latin-1"), "not UTF-8"),
        ("broken.jsonl", b'{"title": "a", "context": "b"}\n{"title": \n', "broken.jsonl, line 2 is not valid JSON"),
        ("half.jsonl", b'{"title": "a"}\n', "line 1: 'context' is missing"),
    ],
)
def test_documents(house: House, name: str, data: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfedit.policy.opening.open_engine", lambda *_: pytest.fail("a model was opened"))
    line = house.refused("learn", write(house.folder, name, data))
    assert line.startswith("3 ") and said in line
    assert not (house.folder / "runs").exists()


def test_what_is_held_out_is_held_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = CORPUS.read_text(encoding="utf-8").splitlines()
    for name, some in ("a.jsonl", rows[:3]), ("b.jsonl", rows[2:4]):
        (house.folder / name).write_text("\n".join(some), encoding="utf-8")
    (house.folder / "c.jsonl").write_text("\n".join(rows[4:6]), encoding="utf-8")
    shown = ("--cold-start.enabled", "--cold-start.examples", "c.jsonl")
    house.fine("train", "--docs", "a.jsonl", *shown, *QUICK, "--rounds", "1", "--quiet")
    told = "3 1 of 2 held-out passages are learned from as well, the first about"
    assert house.refused("eval", "--policy", "latest", "--eval-docs", "b.jsonl").startswith(told)
    assert house.refused("eval", "--policy", "latest", "--eval-docs", "c.jsonl").startswith("3 2 of 2 held-out passages")
    monkeypatch.setattr("selfedit.policy.opening.open_engine", lambda *_: pytest.fail("a model was opened"))
    assert house.refused("train", "--docs", "a.jsonl", "--eval-docs", "b.jsonl", "--engine", "fake").startswith(told)
    assert house.refused("train", *shown, "--eval-docs", "c.jsonl", "--engine", "fake").startswith("3 2 of 2 held-out passages")


def test_missing_and_huge_documents(house: House) -> None:
    assert house.refused("learn", "nowhere.txt") == "3 nowhere.txt does not exist; check the path, which counts from the current folder"
    with (house.folder / "huge.txt").open("wb") as file:
        file.truncate(200 * 2**20)
    assert "209,715,200 bytes" in house.refused("learn", "huge.txt")
    assert house.refused("learn").startswith("3 nothing to learn: give files or folders")
    (house.folder / "bare").mkdir()
    assert "no documents in bare" in house.refused("learn", "bare")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("lern",), "2 no command 'lern'; the nearest is 'learn'"),
        (("train", "--algorithm.epochs", "abc"), "2 train: --algorithm.epochs: invalid literal for int"),
        (("dataset", "--min-reward", "abc", "x"), "2 dataset: --min-reward takes a number (got 'abc')"),
        (("train", "--propose.sampling.temperature", "-1"), "2 recipe: propose.sampling.temperature: Input should be greater than or equal to 0"),
        (("train", "--inner.lora.rank", "0"), "2 recipe: inner.lora.rank: Input should be greater than or equal to 1"),
        (("show", "recipee"), "6 no run 'recipee' in runs: there is none at all yet; or do you mean `selfedit show recipe`?"),
        (("eval", "--recipe", "x.toml"), "2 eval: unknown option --recipe; the nearest is --"),
        (("train", "--cold_start.enabled", "--rounds", "abc"), "2 train: --rounds: invalid literal for int"),
        (("learn", "x", "--quite"), "2 learn: unknown option --quite; the nearest is --quiet"),
        (("learn", "x", "--inner.lora.rnak", "3"), "2 learn: unknown option --inner.lora.rnak; the nearest is --inner.lora.rank"),
        (("learn", "x", "--seed", "x"), "2 learn: --seed: invalid literal for int"),
        (("learn", "x", "--seed", "-1"), "2 recipe: seed: Input should be greater than or equal to 0 (got -1)"),
        (("learn", "x", "--inner.epochs", "0"), "2 recipe: inner.epochs: Input should be greater than or equal to 1 (got 0)"),
        (("learn", "x", "--engine", "tpu"), "2 learn: invalid choice 'tpu'"),
        (
            ("learn", "x", "--engine", "fake", "--engine.threads", "2"),
            "2 learn: --engine.threads is a setting of the engine torch; choose it with --engine",
        ),
        (("learn", "x", "--recipe", "no.toml"), "2 no recipe at no.toml"),
        (("learn", "x", "--algorithm", "grpo"), "2 `learn` keeps the best self-edits, which is --algorithm rest_em; grpo is for `selfedit train`"),
        (("train", "--algorithm", "grpo", "--propose.candidates", "1"), "2 recipe: propose.candidates is 1: algorithm grpo learns from how"),
        (("learn", "x", "--propose.strategies", "self-aq"), "2 unknown strategy 'self-aq'; the nearest is 'self-qa'"),
        (("learn", "x", "--resume", "latest"), "2 a resumed run keeps what it began with"),
        (("learn", "--resume", "latest"), "6 no run of `selfedit learn` in runs yet"),
        (("learn", "--resume", "20260101"), "6 no run '20260101' in runs: there is none at all yet"),
        (("ask",), "2 ask: "),
        (("ask", " "), "2 there is no question"),
        (("ask", "Who?", "is", "it"), "2 ask: there is no place for 'is'"),
        (("report",), "6 no run in runs yet"),
        (("export",), "2 export takes a run and a folder"),
        (("show", "recipe", "--candidate", "a:0:0"), "2 --candidate needs a run"),
        (("pull", "smolm"), "4 no packaged model 'smolm'"),
    ],
)
def test_words(house: House, args: tuple[str, ...], said: str) -> None:
    line = house.refused(*args)
    assert line.startswith(said), line


def test_misspelt_recipe_key(house: House) -> None:
    write(house.folder, "r.toml", b"[inner.lora]\nrnak = 3\n")
    line = house.refused("learn", str(CORPUS), "--recipe", "r.toml")
    assert line == "2 r.toml: unknown key 'inner.lora.rnak'; the nearest valid one is 'inner.lora.rank'"
    write(house.folder, "s.toml", b"seed = \n")
    assert "s.toml is not valid TOML" in house.refused("train", "s.toml")


def test_unknown_model(house: House) -> None:
    assert "the nearest packaged one is 'smollm2-135m'" in house.refused("learn", str(CORPUS), "--model", "smollm")
    assert house.refused("learn", str(CORPUS), "--model", "./nowhere").startswith("4 there is no folder ./nowhere")
    assert not (house.folder / "runs").exists()


def test_the_unforeseen(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(*_: object) -> None:
        raise ZeroDivisionError("nobody thought of this\nat all")

    monkeypatch.setattr("selfedit.loop.learn.check", surprise)
    line = house.refused("learn", str(CORPUS), *QUICK)
    assert line.startswith("70 unexpected ZeroDivisionError: nobody thought of this (the traceback is in ")
    run = next((house.folder / "runs").glob("*-learn-*"))
    assert "surprise" in (run / "error.log").read_text(encoding="utf-8") and f"selfedit learn --resume {run.name}" in line
    assert "Traceback" in house.type("learn", "--resume", run.name, "--debug")[2]
    monkeypatch.setenv("SELFEDIT_DEBUG", "1")
    assert "Traceback" in house.type("learn", "nowhere.txt")[2]


def test_a_run_that_fails_late_is_kept(house: House) -> None:
    line = house.refused("learn", str(CORPUS), *QUICK, "--inner.optimizer.lr", "1e7", "--quiet")
    assert line.startswith("5 no self-edit could be kept")
    assert len(list((house.folder / "runs").glob("*-learn-*"))) == 1


def test_changed_documents(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = CORPUS.read_text(encoding="utf-8").splitlines(keepends=True)
    write(house.folder, "d.jsonl", "".join(rows[:3]).encode())
    monkeypatch.setattr("selfedit.tasks.knowledge.domain.Knowledge.tasks", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    line = house.refused("learn", "d.jsonl", *QUICK)
    run = next((house.folder / "runs").glob("*-learn-*")).name
    assert line == f"130 stopped; everything finished is kept; resume with: selfedit learn --resume {run}"
    monkeypatch.undo()
    monkeypatch.chdir(house.folder)
    write(house.folder, "d.jsonl", "".join(rows[1:4]).encode())
    assert house.refused("learn", "--resume", run).startswith(f"3 the documents have changed since run {run} was begun")
    write(house.folder, "d.jsonl", "".join(rows[:3]).encode())
    (house.folder / "below").mkdir()
    monkeypatch.chdir(house.folder / "below")
    assert json.loads(house.fine("learn", "--resume", run, "--runs", "../runs", "--json", "--quiet"))["run"] == run


def test_a_second_process_is_told(house: House) -> None:
    from selfedit.config import parse_recipe

    with begun(house.folder / "runs", "learn", parse_recipe({"docs": [str(CORPUS)]})) as held:
        assert isinstance(held, Ledger)
        line = house.refused("learn", "--resume", "latest")
        assert line.startswith(f"6 run {held.run_id} is in use by process {os.getpid()}")


def test_several_runs_may_be_meant(house: House) -> None:
    first, second = house.learn("--limit", "1"), house.learn("--limit", "1", "--seed", "1")
    line = house.refused("show", first["run"][:4])
    assert "may be" in line and first["run"] in line and second["run"] in line


def test_keys_of_older_recipes_are_told_their_new_names(house: House) -> None:
    (house.folder / "old.toml").write_text("[eval]\narms = ['base']\n", encoding="utf-8")
    assert "'eval.arms' is called 'eval.baselines' since version 0.1.0" in house.refused("train", "old.toml")
