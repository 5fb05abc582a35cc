"""Every command, typed as a user types it, on the fake engine.

1. learn ends with the table, the guards, the cost, and how to ask and undo; its adapters join what is in force from then on.
2. learn --json prints one line of JSON and nothing else on standard output; intervals are those of the ledger.
3. The same command with the same seed gives the same content hash, in another folder and at another time; another seed another one.
4. A guard that is against it keeps the adapter out of force, until --keep. What was rolled back does not come back by itself.
5. Tokens trained on and written are counted in the ledger.
6. Flags, a recipe file and their defaults: flags win, then the file.
7. train, eval of strategies and eval of a trained policy measure what they say, and are resumed by their own commands.
8. Runs are found by id, beginning, path and `latest`.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.house import CORPUS, QUICK, House

from selfedit import parts
from selfedit.cli.flags import with_flags
from selfedit.cli.parse import flags_of
from selfedit.cli.work import Train
from selfedit.config import CHOSEN, TABLES, Recipe, keys_of, load_recipe, parse_recipe
from selfedit.engine.fake import Fake
from selfedit.guards import accept, reject
from selfedit.library import Library
from selfedit.policy import Policy
from selfedit.study.statistics import interval
from selfedit.types import Example


def test_learn_says_what_was_learned(house: House) -> None:
    code, out, err = house.type("learn", str(CORPUS), "--baselines", "all", *QUICK)
    assert code == 0
    for words in ("Before", "Passages only", "Passages only, same tokens", "After", "95 % interval", "forgetting: accept", "tokens trained on"):
        assert words in out
    run = next((house.folder / "runs").glob("*-learn-*"))
    assert run.name in err and run.name not in out.split("report")[0]
    assert (run / "report.html").exists()
    assert 'selfedit ask "..."' in out and "selfedit rollback" in out
    library = Library(house.folder / "runs")
    assert {entry.run for entry in library.entries()} == {run.name} and library.size() == 3
    for entry in library.entries():
        assert (entry.folder / "adapter_model.safetensors").is_file() and len(entry.documents) == 1
    for words in ("questions reached the adapter of their document", "of 120 everyday prompts were taken for questions about a document"):
        assert words in out


def test_json_is_one_line_on_standard_output(house: House) -> None:
    code, out, err = house.type("learn", str(CORPUS), *QUICK, "--baselines", "all", "--json")
    assert code == 0 and len(out.splitlines()) == 1 and "Before" in err
    found = json.loads(out)
    with house.reader(found["run"]) as reader:
        for name, row in {"before": "base", "passage_only": "passage_only", "token_matched": "token_matched", "after": "after"}.items():
            want = interval([[float(a.correct) for a in result.answers] for result in reader.results(row)])
            assert found[name] == {"mean": want.mean, "low": want.low, "high": want.high, "n": want.n}
        assert found["cost"]["train_tokens"] == reader.cost().train_tokens > 0
        assert found["cost"]["sample_tokens"] == reader.cost().sample_tokens > 0
        assert found["content_hash"] == reader.content_hash()
    assert len(found["adapters"]) == 3 and all(Path(folder).is_dir() for folder in found["adapters"].values()) and found["in_force"] is True


@pytest.mark.parametrize(("asked", "rows"), [((), 3), (("--baselines", "none"), 2), (("--baselines", "passage"), 3), (("--baselines", "all"), 4)])
def test_what_learn_compares_with(house: House, asked: tuple[str, ...], rows: int) -> None:
    found = house.learn(*asked)
    names = [name for name in ("before", "passage_only", "token_matched", "after") if name in found]
    assert names == {2: ["before", "after"], 3: ["before", "passage_only", "after"], 4: ["before", "passage_only", "token_matched", "after"]}[rows]


def test_quiet_prints_the_result_only(house: House) -> None:
    code, out, err = house.type("learn", str(CORPUS), *QUICK, "--quiet")
    assert code == 0 and "After" in out and err == ""


def test_same_seed_same_content(house: House) -> None:
    first, again, other = house.learn(), house.learn("--runs", "elsewhere"), house.learn("--seed", "1")
    assert first["run"] != again["run"] and first["content_hash"] == again["content_hash"] != other["content_hash"]


def test_documents_without_questions_get_them(house: House) -> None:
    text = " ".join(json.loads(line)["context"] for line in CORPUS.read_text(encoding="utf-8").splitlines()[:2])
    (house.folder / "notes.md").write_text(f"# Notes\n\n{text}\n", encoding="utf-8")
    out = house.fine("learn", "notes.md", *QUICK)
    assert "written by the model, and confirmed" in out or "blanks in the text" in out


def test_a_guard_keeps_an_adapter_out_of_force(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfedit.guards.forgetting.forgetting", lambda before, after, limit: reject("it forgot Paris"))
    out = house.fine("learn", str(CORPUS), *QUICK)
    assert out.count("reject; it forgot Paris") == 3 and "--keep" in out and "undo" not in out
    assert Library(house.folder / "runs").size() == 0
    assert "undo" in house.fine("learn", "--resume", "latest", "--keep")
    assert Library(house.folder / "runs").size() == 3


def test_a_guard_keeps_one_adapter_out_of_force(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    said = iter([accept(""), reject("it forgot Paris"), accept("")])
    monkeypatch.setattr("selfedit.guards.forgetting.forgetting", lambda before, after, limit: next(said))
    out = house.fine("learn", str(CORPUS), *QUICK)
    assert "not in force" in out and "undo" in out
    assert [document.title for document in Library(house.folder / "runs").documents()] == ["Odwin Marrack", "Odrille Vantuse"]


def test_a_second_run_adds_to_the_first(house: House) -> None:  # promise 1
    rows = CORPUS.read_text(encoding="utf-8").splitlines()
    for name, row in (("one.jsonl", rows[0]), ("two.jsonl", rows[1])):
        (house.folder / name).write_text(row + "\n", encoding="utf-8")
    quick = ("--engine", "fake", "--propose.candidates", "1", "--propose.strategies", "span-qa", "--quiet")
    house.fine("learn", "one.jsonl", *quick)
    question = json.loads(rows[0])["questions"][0]["question"]
    before = json.loads(house.fine("ask", question, "--json", "--quiet"))
    house.fine("learn", "two.jsonl", *quick)
    after = json.loads(house.fine("ask", question, "--json", "--quiet"))
    assert before["topic"] == json.loads(rows[0])["title"] and {**before, "sure": 0} == {**after, "sure": 0}
    for prompt in ("What is the capital of France?", "Write a poem.", "How do I boil an egg?"):
        answer = json.loads(house.fine("ask", prompt, "--json", "--quiet"))
        assert answer["learned"] == answer["before"] and not answer["adapter"]


def test_what_was_rolled_back_stays_back(house: House) -> None:
    first, second = house.learn(), house.learn("--seed", "1")
    assert "3 documents, as version 3" in house.fine("rollback")
    assert {entry.run for entry in Library(house.folder / "runs").entries()} == {first["run"]}
    house.fine("learn", "--resume", second["run"])
    assert {entry.run for entry in Library(house.folder / "runs").entries()} == {first["run"]}
    assert "the untrained model" in house.fine("rollback")
    assert house.refused("rollback").startswith("6 nothing to roll back")
    assert house.refused("ask", "Who?").startswith("3 nothing is learned yet")


def test_ask_answers_with_and_without(house: House) -> None:
    run = house.learn("--propose.strategies", "span-qa")["run"]
    with house.reader(run) as reader:
        kept = reader.selected()[0]
        edit = next(p.edit for p in reader.proposals() if (p.task_id, p.index) == (kept.task_id, kept.index))
    taught = edit.examples[0]
    title, question = taught.prompt.removeprefix("Topic: ").split("\n")
    code, out, _ = house.type("ask", question, "--topic", title, "--json")
    found = json.loads(out)
    assert code == 0 and found["before"] == "I do not know." and taught.text in found["learned"]
    assert json.loads(house.fine("ask", question.replace("What", f"Of {title}, what"), "--json", "--quiet"))["topic"] == title
    assert json.loads(house.fine("ask", question, "--topic", title, "--open-book", "--json", "--quiet"))["topic"] == title
    named = house.fine("ask", "Where was he born?", "--topic", "Odwin Marrack", "--run", "latest")
    assert "Odwin Marrack" in named and "learned" in named and "before" in named
    assert "no document fits" in house.fine("ask", "xyzzy?")


def test_report_runs_and_show(house: House) -> None:
    assert "no runs in runs yet" in house.fine("runs")
    run = house.learn()["run"]
    assert house.fine("report", run[:-2], "--out", "page.html").strip() == "page.html"
    assert (house.folder / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    listed = house.fine("runs")
    assert run in listed and "finished, in force" in listed
    with house.reader(run) as reader:
        content, proposal = reader.content_hash(), reader.proposals()[0]
    shown = house.fine("show", "latest")
    assert content in shown and "corpus-0001:0:0" in shown
    edit = house.fine("show", str(house.folder / "runs" / run), "--candidate", "corpus-0001:0:0")
    assert proposal.edit.strategy in edit and proposal.edit.turns[0].completion.splitlines()[0] in edit
    assert "there are: corpus-0001:0:0" in house.refused("show", run, "--candidate", "corpus-0001:0:9")
    assert "TASK:ROUND:INDEX" in house.refused("show", run, "--candidate", "7")
    assert "no run 'nothing'" in house.refused("show", "nothing")


def test_show_lists_what_can_be_chosen(house: House) -> None:
    assert "span-qa" in house.fine("show", "strategies")
    assert all(name in house.fine("show", "algorithms") for name in ("rest_em", "reinforce", "ppo", "grpo", "dpo", "evolve", "archive", "bandit"))
    assert all(name in house.fine("show", "models") for name in ("smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b"))
    text = house.fine("show", "recipe")
    assert parse_recipe(tomllib.loads(text)) == Recipe() and "# Self-edits a task (K)." in text


def test_an_algorithm_by_flags(house: House) -> None:
    """A setting that is not given is the algorithm's own; one of another algorithm is refused; flags win over a file."""
    recipe = house.folder / "mine.toml"
    recipe.write_text('[algorithm]\ntype = "grpo"\nkl = 0.3\nscale = false\n[algorithm.lora]\nrank = 8\n[engine]\ntype = "fake"\n', encoding="utf-8")
    for args, expected in (
        (("--engine", "fake", "--algorithm", "ppo", "--algorithm.clip", "0.1"), {"type": "ppo", "clip": 0.1}),
        (("mine.toml", "--algorithm.kl", "0.1"), {"type": "grpo", "kl": 0.1, "scale": False, "lora": {"rank": 8, "alpha": 32.0}}),
    ):
        house.fine("train", *args, "--limit", "2", "--propose.candidates", "2")
        with house.reader(sorted((house.folder / "runs").glob("*-train-*"), key=lambda run: run.stat().st_mtime)[-1].name) as reader:
            assert parse_recipe(reader.info().recipe).algorithm == parse_recipe({"algorithm": expected}).algorithm
    code, _, err = house.type("train", "--engine", "fake", "--algorithm", "dpo", "--algorithm.clip", "0.1")
    said = "--algorithm.clip is a setting of the algorithm grpo or ppo; choose it with --algorithm, or leave it out"
    assert code == 2 and err == f"selfedit: train: {said}\n"


def leaves(settings: type[Any], key: str) -> set[str]:
    """The names of a section's settings as flags without their dashes: of its own sections those of their settings."""
    keys = set(keys_of(settings, f"{key}."))
    return {one.replace("_", "-") for one in keys if not any(other.startswith(f"{one}.") for other in keys)}


def typed(*args: str) -> set[str]:
    """The flags of `train` without their dashes."""
    return {flag.removeprefix("--") for flag in flags_of(with_flags(Train, args))}


def test_every_setting_is_a_flag() -> None:
    parts.load()
    for key, (kind, _) in CHOSEN.items():
        for entry in parts.KINDS[kind] if key not in ("sampler", "vector") else ():
            assert leaves(entry.settings, key) <= typed(f"--{key}", entry.name), entry.name
    vectors = parts.KINDS["inner"].get("vector")
    assert leaves(vectors.settings, "vector") <= typed("--edits", "data,vector")
    held = {flag for key, kind in TABLES.items() for entry in parts.KINDS[kind] for flag in leaves(entry.settings, f"{key}.{entry.name}")}
    assert "guard.forgetting.max-nats" in held <= typed()


def test_flags_win_over_the_recipe_file(house: House) -> None:
    recipe = house.folder / "mine.toml"
    recipe.write_text('limit = 3\nseed = 5\n[engine]\ntype = "fake"\n[propose]\ncandidates = 1\n[reward]\ntype = "correctness"\n', encoding="utf-8")
    house.fine("learn", str(CORPUS), "--recipe", "mine.toml", "--seed", "7", "--inner.lora.rank", "8")
    with house.reader(next((house.folder / "runs").glob("*-learn-*")).name) as reader:
        found = parse_recipe(reader.info().recipe)
    expected = load_recipe(recipe).model_copy(update={"seed": 7, "docs": (CORPUS,)})
    assert found.inner.lora.rank == 8
    assert found.model_copy(update={"inner": Recipe().inner}) == expected


@pytest.mark.parametrize("args", [("mine",), ("--seed", "7", "mine"), ("--eval.baselines", "base", "--", "mine"), ("--quiet", "./mine")])
def test_a_recipe_file_is_read_by_any_name_at_any_place(house: House, args: tuple[str, ...]) -> None:  # promise 6
    (house.folder / "mine").write_text('limit = 2\nrounds = 1\n[engine]\ntype = "fake"\n[propose]\ncandidates = 1\n', encoding="utf-8")
    house.fine("train", "--chunk", "2", *args)
    with house.reader(next((house.folder / "runs").glob("*-train-*")).name) as reader:
        found = parse_recipe(reader.info().recipe)
    assert (found.limit, found.rounds, found.engine.part, found.propose.candidates, found.chunk) == (2, 1, "fake", 1, 2)


def test_train_and_eval(house: House) -> None:
    trained = json.loads(house.fine("train", *QUICK, "--rounds", "1", "--json", "--quiet"))
    assert {"before", "passage_only", "untrained", "round-1"} <= trained.keys()
    policy = json.loads(house.fine("eval", "--policy", "latest", "--json", "--quiet"))
    assert {"before", "passage_only", "round-1"} <= policy.keys() and policy["before"] == trained["before"]
    rows = json.loads(house.fine("eval", *QUICK, "--propose.strategies", "self-qa", "span-qa", "--json", "--quiet"))
    assert {"before", "passage_only", "self-qa", "span-qa"} <= rows.keys() and rows["self-qa"]["n"] == rows["before"]["n"] > 0
    for run, command in ((trained, "train"), (policy, "eval")):
        again = json.loads(house.fine(command, "--resume", run["run"], "--json", "--quiet"))
        assert again["content_hash"] == run["content_hash"]
    assert house.refused("learn", "--resume", trained["run"]).startswith(f"2 run {trained['run']} was begun by `selfedit train`")
    assert "has trained no policy" in house.refused("eval", "--policy", rows["run"])


def test_what_cannot_be_asked_about_is_learned_all_the_same(house: House) -> None:
    """A document with a single question, which is reported on: no self-edit of it could be chosen, and it is learned as it is."""
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()[:3]]
    rows[1]["questions"] = rows[1]["questions"][:1]
    (house.folder / "docs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    code, out, err = house.type("learn", "docs.jsonl", *QUICK, "--inner.replay", "0", "--inner.worked", "0", "--json")
    assert code == 0 and "1 of 3 passages learned as it is: no self-edit could be chosen" in " ".join(err.split())
    assert "1 of 3 passages learned as it is" in (house.folder / house.fine("report").strip()).read_text(encoding="utf-8")
    with house.reader(json.loads(out)["run"]) as reader:
        tasks, kept, results = reader.tasks(), reader.selected(), reader.results("after")
        edits = {(p.task_id, p.index): p.edit for p in reader.proposals()}
        policy = Policy(Fake(), parse_recipe(reader.info().recipe))
    assert [task.context for task in tasks] == [row["context"] for row in rows] and not tasks[1].reward_questions
    assert {one.task_id for one in kept} == {tasks[0].id, tasks[2].id} and [len(r.answers) for r in results] == [
        len(t.report_questions) for t in tasks
    ]
    learned = {one.task_id: edits[one.task_id, one.index].examples for one in kept}
    learned[tasks[1].id] = (Example(f"{tasks[1].title}\n{tasks[1].context}"),)
    epochs = policy.recipe.inner.epochs
    for result in results:  # an adapter each
        assert result.tokens == epochs * sum(len(policy.render.datum(example).tokens) for example in learned[result.task_id])


def test_where_nothing_could_be_chosen_all_is_learned_as_it_is(house: House) -> None:
    said = house.fine("learn", str(CORPUS), *QUICK, "--algorithm.select", "above", "--algorithm.threshold", "9")
    assert "3 of 3 passages learned as they are: no self-edit could be chosen" in " ".join(said.split())


def test_what_only_measures_may_have_settings_that_no_run_could_learn_with(house: House) -> None:
    house.fine("train", *QUICK, "--rounds", "1", "--propose.candidates", "3", "--prefilter", "in_context", "--quiet")
    house.fine("eval", "--policy", "latest", "--propose.candidates", "2", "--quiet")
    assert "nothing would be left out" in house.refused("train", *QUICK, "--prefilter", "in_context")


def test_two_sets_of_documents_may_have_files_of_one_name(house: House) -> None:
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    for folder, some in ("train", lines[:2]), ("test", lines[2:4]):
        (house.folder / folder).mkdir()
        (house.folder / folder / "docs.jsonl").write_text("\n".join(some), encoding="utf-8")
    run = json.loads(house.fine("train", "--docs", "train", "--eval-docs", "test", *QUICK, "--rounds", "1", "--json", "--quiet"))["run"]
    with house.reader(run) as reader:
        assert [task.id for task in reader.tasks()] == ["docs-0001", "docs-0002", "held-out-docs-0001", "held-out-docs-0002"]


def test_demo(house: House) -> None:
    out = house.fine("demo", "--engine", "fake")
    assert "After" in out
    run = next((house.folder / "runs").glob("*-demo-*")).name
    with house.reader(run) as reader:
        recipe, tasks = reader.info().recipe, reader.tasks()
    assert recipe["propose"]["strategies"] and 0 < len(tasks) <= (recipe["limit"] or len(tasks))
    assert out.splitlines()[1:9] == house.fine("demo", "--resume", run).splitlines()[1:9] == house.fine("learn", "--resume", run).splitlines()[1:9]


def test_doctor_and_pull_of_what_is_there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEDIT_CACHE", str(house.folder))
    (house.folder / "models" / "smollm2-135m").mkdir(parents=True)
    assert house.fine("pull").strip().endswith("smollm2-135m")
    assert "to accept them run: selfedit pull gemma-3-270m --accept-licence" in house.refused("pull", "gemma-3-270m")
    out = house.fine("doctor")
    assert "qwen2.5-coder-0.5b" in out and "not fetched yet (478 MB)" in out
    assert "torch" in out and "model cache" in out and "selfedit can work here." in out
    monkeypatch.setattr("selfedit.system.environment.version", lambda name: "missing")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    code, out, _ = house.type("doctor")
    assert code == 1 and "pip install -U transformers" in out and "missing: transformers" in out


def test_help_teaches(house: House) -> None:
    from selfedit.cli import COMMANDS

    overview = house.fine("--help")
    for name in COMMANDS:
        assert f"  {name} " in overview
        out = house.fine(name, "--help")
        assert f"usage: selfedit {name}" in out and (f"  selfedit {name} " in out or name in ("demo", "runs", "rollback", "doctor"))
    assert "--inner.lora.rank INT" in house.fine("learn", "--help") and "--rounds" not in house.fine("learn", "--help")
    assert house.type()[0] == 2 and house.fine("--version").startswith("selfedit 0")
