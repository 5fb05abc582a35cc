"""`selfedit dataset`: a run's self-edits for other trainers.

1. A row says what was asked and written, as the ledger has it; a chat model's as messages, a base model's as plain text.
2. `--kept`, `--min-reward` and `--strategies` leave out what they say; self-edits that only measure are never in it.
3. Pairs are the best and the worst that answer one prompt; examples are what adapters were trained on, as plain text.
4. datasets reads every form, and TRL takes it for what it is.
5. The turn in which a policy picked a strategy is in no other row: `--picks` writes it. `--only` takes the rows of one form where a run has both.
6. A file is written whole or not at all, and none is replaced unasked; every error is one line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.house import House

from selfedit.models import tiny
from selfedit.store.dataset import Written, pairs
from selfedit.types import Candidate, Prompt, Proposal, Reward, Selected, SelfEdit, Task, Turn

ASK_ONCE = ("--propose.strategies", "self-qa", "implications", "--propose.candidates", "4")


def rows(house: House, *args: str) -> list[dict[str, Any]]:
    house.fine("dataset", "out.jsonl", *args, "--overwrite")
    return [json.loads(line) for line in (house.folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def run(house: House) -> str:
    return str(house.learn(*ASK_ONCE)["run"])


@pytest.fixture
def base_run(house: House, monkeypatch: pytest.MonkeyPatch) -> str:
    from selfedit.engine.fake import Fake

    monkeypatch.setattr("selfedit.engine.fake.Fake", lambda: Fake(chat=False))
    return str(house.learn(*ASK_ONCE)["run"])


def test_a_row_is_what_was_asked_and_written(house: House, run: str) -> None:  # promise 1
    out = house.fine("dataset", "out.jsonl")
    assert f"12 edits of run {run}" in out and "load_dataset('json', data_files='out.jsonl')" in out
    with house.reader(run) as reader:
        candidates = {(c.proposal.task_id, c.proposal.index): c for c in reader.candidates()}
        kept = {(k.task_id, k.index) for k in reader.selected()}
    found = rows(house, "--overwrite")
    assert len(found) == len(candidates) == 12
    for row in found:
        key = row["task"], row["index"]
        [turn] = candidates[key].proposal.edit.turns
        assert row.pop("messages") == [{"role": "user", "content": turn.prompt.text}, {"role": "assistant", "content": turn.completion}]
        assert row["reward"] == candidates[key].reward.value and row["kept"] == (key in kept) and row["finish_reason"] == turn.finish_reason
        assert row.keys() == {"task", "round", "index", "strategy", "reward", "kept", "finish_reason"}


def test_a_base_models_text_stays_plain(house: House, base_run: str) -> None:  # promise 1
    for row in rows(house):
        assert isinstance(row["prompt"], str) and isinstance(row["completion"], str) and "messages" not in row


def test_limits(house: House, run: str) -> None:  # promise 2
    everything = rows(house)
    assert rows(house, "--kept") == [row for row in everything if row["kept"]] != []
    least = sorted(row["reward"] for row in everything)[6]
    assert rows(house, "--min-reward", str(least)) == [row for row in everything if row["reward"] >= least]
    assert rows(house, "--strategies", "implications") == [row for row in everything if row["strategy"] == "implications"] != []
    assert house.refused("dataset", "other.jsonl", "--min-reward", "2").endswith("has no edits to write with these limits")
    assert "has no self-edit of strategy 'rewrite'; there are: self-qa, implications" in house.refused("dataset", "o", "--strategies", "rewrite")


def test_nothing_that_only_measures(house: House) -> None:  # promise 2
    more = ("--eval.baselines", "base", "untrained", "best_of_k", "--rounds", "2", "--algorithm", "grpo")
    found = json.loads(house.fine("train", "--engine", "fake", "--limit", "3", *ASK_ONCE, *more, "--json", "--quiet"))
    with house.reader(found["run"]) as reader:
        learned = {task.id for task in reader.step("tasks", Task)}
        held_out = {p.task_id for p in reader.proposals()} - learned
        against = [k for k in reader.selected() if k.advantage < 0]
    written = rows(house)
    assert held_out and against and {row["task"] for row in written} == learned and {row["round"] for row in written} == {0, 1}
    assert not {(k.task_id, k.round, k.index) for k in against} & {(r["task"], r["round"], r["index"]) for r in written if r["kept"]}
    measured = json.loads(house.fine("eval", "--policy", found["run"], "--json", "--quiet"))["run"]
    assert house.refused("dataset", measured, "o.jsonl").endswith("has no edits to write")
    assert f"edits of run {found['run']}" in house.fine("dataset", "o.jsonl")  # the last run that wrote any, not the last


def test_a_prefilter_leaves_self_edits_without_a_reward(house: House) -> None:  # promise 2
    house.learn(*ASK_ONCE, "--prefilter", "in_context")
    assert sum(row["reward"] is None for row in rows(house)) == 6 and len(rows(house, "--min-reward", "-9")) == 6


def test_pairs(house: House, run: str) -> None:  # promise 3
    everything = rows(house)
    found = rows(house, "--pairs")
    assert found
    for row in found:
        group = [r for r in everything if r["task"] == row["task"] and r["strategy"] == row["strategy"]]
        [best] = [r for r in group if r["index"] == row["index"]]
        [worst] = [r for r in group if r["index"] == row["rejected_index"]]
        assert row["reward"] == best["reward"] == max(r["reward"] for r in group) > worst["reward"] == min(r["reward"] for r in group)
        assert row["prompt"] + row["chosen"] == best["messages"] and row["prompt"] + row["rejected"] == worst["messages"]
        assert row["rejected_reward"] == worst["reward"]


def test_an_empty_self_edit_is_no_side_of_a_pair() -> None:
    def one(index: int, said: str) -> Candidate:
        turn = Turn(Prompt("Ask."), said, "stop")
        return Candidate(Proposal("t", 0, index, index, SelfEdit("self-qa", (turn,), ())), Reward(float(index), "correctness"))

    candidates = [one(0, "Question: Why?\nAnswer: So."), one(1, "Question: Who?\nAnswer: Ida."), one(2, " ")]
    chosen = [Written(c.proposal, c.reward.value, kept=True) for c in candidates]
    assert pairs(chosen, candidates) == [] and len(pairs(chosen, candidates[:2])) == 1


def test_examples(house: House, run: str) -> None:  # promise 3
    with house.reader(run) as reader:
        kept = {(k.task_id, k.index) for k in reader.step("round-0/kept", Selected)}
        edits = [p.edit for p in reader.step("round-0/edits", Proposal) if (p.task_id, p.index) in kept]
    found = rows(house, "--examples", "--kept")
    assert len(found) == sum(len(edit.examples) for edit in edits)
    for row, example in zip(found, (e for edit in edits for e in edit.examples), strict=True):
        assert row["completion"].strip() == example.text and row["prompt"] == (f"{example.prompt}\nAnswer:" if example.prompt else "")


@pytest.mark.parametrize("form", [(), ("--pairs",), ("--examples",)])
@pytest.mark.parametrize("kind", ["run", "base_run"])
def test_other_libraries_read_it(house: House, request: pytest.FixtureRequest, tmp_path: Path, kind: str, form: tuple[str, ...]) -> None:  # promise 4
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    from transformers import AutoTokenizer

    request.getfixturevalue(kind)
    written = rows(house, *form)
    data = datasets.load_dataset("json", data_files=str(tmp_path / "out.jsonl"), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.to_list() == written
    chat = kind == "run" and form != ("--examples",)
    tokenizer = AutoTokenizer.from_pretrained(tiny("qwen2", tmp_path / "tiny"))
    for row in data:
        assert trl.is_conversational(row) is chat
        shown = trl.data_utils.maybe_apply_chat_template({k: row[k] for k in row if k in TRLS}, tokenizer)
        assert shown and all(isinstance(text, str) for text in shown.values())
        said = row["messages"][-1]["content"] if "messages" in row else _text(row.get("chosen") or row["completion"])
        assert said in "".join(shown.values())


TRLS = ("messages", "prompt", "completion", "chosen", "rejected")


def _text(said: str | list[dict[str, str]]) -> str:
    return said if isinstance(said, str) else said[-1]["content"]


def picked(house: House, *strategies: str) -> list[Proposal]:
    """The self-edits of a run whose policy picked these strategies itself."""
    writing = ("--propose.pick", "policy", "--propose.strategies", *strategies, "--propose.candidates", "6", "--propose.sampling.temperature", "8")
    more = ("--engine", "fake", "--limit", "3", "--reward", "likelihood", "--algorithm", "grpo", "--rounds", "1", "--eval.baselines", "base")
    found = json.loads(house.fine("train", *more, *writing, "--json", "--quiet"))
    with house.reader(found["run"]) as reader:
        return reader.step("round-0/edits", Proposal)


@pytest.mark.parametrize("kind", ["chat", "base"])
def test_a_policy_that_picks(house: House, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:  # promise 5
    if kind == "base":
        from selfedit.engine.fake import Fake

        monkeypatch.setattr("selfedit.engine.fake.Fake", lambda: Fake(chat=False))
    made = {(p.task_id, p.index): p.edit for p in picked(house, "self-qa", "key-facts")}
    assert {len(edit.turns) for edit in made.values()} == {2}
    everything, picks, pairs = rows(house), rows(house, "--picks"), rows(house, "--pairs")
    assert len(everything) == len(picks) == len(made) and pairs
    for which, found in enumerate((picks, everything)):
        for row in found:
            turn = made[row["task"], row["index"]].turns[which]
            said = (row["prompt"], row["completion"]) if kind == "base" else tuple(message["content"] for message in row["messages"])
            assert said == (turn.prompt.text, turn.completion)
    assert {row["strategy"] for row in picks} == {"self-qa", "key-facts"}
    for row in pairs:
        best, worst = (made[row["task"], row[index]].turns[1] for index in ("index", "rejected_index"))
        said = row["prompt"], row["chosen"], row["rejected"]
        assert (said if kind == "base" else tuple(one[0]["content"] for one in said)) == (best.prompt.text, best.completion, worst.completion)
    assert house.refused("dataset", "a", "--picks", "--pairs").startswith("2 --pairs and --picks are two forms")


def test_picks_of_another_form_than_the_writing(house: House) -> None:  # promise 5
    made = picked(house, "span-qa", "sentence-qa")
    assert len(rows(house)) == sum(len(p.edit.turns) - 1 for p in made) and all("completion" in row for row in rows(house))
    assert len(rows(house, "--picks")) == len(made) and all("messages" in row for row in rows(house, "--picks"))
    assert house.refused("dataset", "a", "--pairs").endswith("so its self-edits cannot be paired")
    assert house.refused("dataset", "a", "--picks", "--only", "text").endswith("has no picks to write with these limits")
    edit = next(p for p in made if p.edit.strategy == "span-qa")
    first, second = house.fine("show", "latest", "--candidate", f"{edit.task_id}:0:{edit.index}").split("asked (")[1:3]
    assert "\ndrawn from: s" in first and "to be answered with" not in first and "\nto be answered with: " in second


def test_pairs_of_those_that_can(house: House) -> None:  # promise 5
    picked(house, "self-qa", "span-qa")
    assert "'span-qa' does not ask once" in (error := house.refused("dataset", "a", "--pairs")) and "those of self-qa can" in error
    assert {row["strategy"] for row in rows(house, "--pairs", "--strategies", "self-qa")} == {"self-qa"}


def test_a_mixed_self_edit_in_both_forms(house: House) -> None:  # promise 5
    house.learn("--propose.strategies", "self-qa+sentence-qa")
    error = house.refused("dataset", "a.jsonl")
    assert "choose it with --only text or --only messages" in error and error.count("(self-qa+sentence-qa)") == 2
    assert all("messages" in row for row in rows(house, "--only", "messages")) and all("completion" in row for row in rows(house, "--only", "text"))
    assert len(rows(house, "--only", "text")) > len(rows(house, "--only", "messages")) == 6
    assert "'self-qa+sentence-qa' does not ask once" in house.refused("dataset", "a.jsonl", "--pairs")
    assert house.refused("dataset", "a.jsonl", "--picks").endswith("has no picks to write")


def test_what_is_refused(house: House, run: str) -> None:  # promise 6
    file = house.folder / "mine.jsonl"
    file.write_text("mine", encoding="utf-8")
    assert house.refused("dataset", "mine.jsonl") == "2 mine.jsonl exists already; --overwrite replaces it"
    assert house.refused("dataset", run, "runs") == "2 runs is a folder; name a file"
    assert house.refused("dataset", "a", "b", "c").startswith("2 dataset takes a run and a file")
    assert house.refused("dataset", "a", "--pairs", "--examples").startswith("2 --pairs and --examples are two forms")
    assert house.refused("dataset", "mine.jsonl/a.jsonl").startswith("3 cannot write mine.jsonl/a.jsonl: ")
    assert "no run 'nothing'" in house.refused("dataset", "nothing", "a.jsonl")
    assert file.read_text(encoding="utf-8") == "mine" and {f.name for f in house.folder.iterdir()} == {"mine.jsonl", "runs"}
    house.fine("dataset", run[:-2], "new/mine.jsonl")
    assert len((house.folder / "new" / "mine.jsonl").read_text(encoding="utf-8").splitlines()) == 12


def test_one_form_a_file(house: House) -> None:  # promises 5 and 6
    house.learn("--propose.strategies", "span-qa", "self-qa")
    error = house.refused("dataset", "a.jsonl")
    both = "there are texts that were continued (span-qa) and answers to a user's turn (self-qa)"
    assert error == f"2 {both}: one file holds one form, choose it with --only text or --only messages"
    assert rows(house, "--only", "messages") == rows(house, "--strategies", "self-qa")
    assert all("messages" in row for row in rows(house, "--strategies", "self-qa"))
    spans = rows(house, "--strategies", "span-qa")
    assert all("completion" in row for row in spans) and len(spans) > 3  # a row for each of a self-edit's questions
    assert "'span-qa' does not ask once" in house.refused("dataset", "a.jsonl", "--pairs", "--strategies", "span-qa")
    assert {row["strategy"] for row in rows(house, "--examples")} == {"span-qa", "self-qa"}
