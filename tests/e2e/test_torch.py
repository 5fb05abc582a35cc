"""The whole way with the real engine, on a random model of two layers: nothing it says makes sense, everything it does has to work.

1. learn → ask → export → rollback → report. PEFT opens what export wrote.
2. Twice the same command gives the same content hash; a run that is stopped and resumed, too.
3. A model that was changed in between is not taken for the same: not by a run that goes on, nor by a question to what was learned.
4. train with a cold start and every row; eval of its policy, in parts, finds the same.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.e2e.house import CORPUS, typed

from selfedit import parts
from selfedit.cli import main
from selfedit.models import tiny

FLAGS = (
    "--limit",
    "2",
    "--propose.candidates",
    "2",
    "--propose.sampling.max-tokens",
    "16",
    "--inner.epochs",
    "2",
    "--engine.threads",
    "1",
    "--quiet",
)


@pytest.fixture
def learn(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    return ("learn", CORPUS, "--model", str(tiny_model), *FLAGS, "--json")


def test_the_whole_way(learn: tuple[str, ...], tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(typed(capsys, *learn, "--keep", "--baselines", "all"))
    assert found["in_force"] and {"before", "after", "passage_only", "token_matched"} <= found.keys()
    answers = json.loads(typed(capsys, "ask", "Where was Odwin Marrack born?", "--json", "--quiet"))
    assert answers["topic"] == "Odwin Marrack" and answers["learned"] != answers["before"]
    typed(capsys, "export", "mine")
    assert [folder.name for folder in sorted(Path("mine").iterdir())] == ["0000-odwin-marrack", "0001-ommelin-drusk"]
    for folder in Path("mine").iterdir():
        assert {"adapter_config.json", "adapter_model.safetensors"} == {file.name for file in folder.iterdir()}
        opened_by_peft(tiny_model, folder)
    assert main(["export", "mine"]) == 2
    assert "the untrained model" in typed(capsys, "rollback")
    assert Path(typed(capsys, "report").strip()).exists()


def opened_by_peft(model: Path, adapter: Path) -> None:
    """PEFT reads the adapter and it changes what the model says."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(model)
    tokens = torch.arange(5, 25)[None]
    before = plain(tokens).logits
    after = peft.PeftModel.from_pretrained(plain, adapter)(tokens).logits
    assert (after - before).abs().max() > 1e-4


def test_same_command_same_content(learn: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = json.loads(typed(capsys, *learn))
    with monkeypatch.context() as patch:
        patch.setattr("selfedit.loop.learn.answer_routed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*learn, "--runs", "other"]) == 130
    resumed = json.loads(typed(capsys, "learn", "--resume", "latest", "--runs", "other", "--json", "--quiet"))
    assert first["run"] != resumed["run"] and first["content_hash"] == resumed["content_hash"]


def test_another_model_under_the_same_name(
    learn: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tiny("llama", tmp_path / "mine")
    with monkeypatch.context() as patch:
        patch.setattr("selfedit.loop.learn_documents", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["learn", CORPUS, "--model", "mine", *FLAGS]) == 130
    tiny("llama", mine, seed=1)
    assert main(["learn", "--resume", "latest", "--quiet"]) == 6
    assert "mine is no longer the model that run" in capsys.readouterr().err


def test_asked_with_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tiny("llama", tmp_path / "mine")
    typed(capsys, "learn", CORPUS, "--model", "./mine", *FLAGS, "--limit", "1", "--keep")
    before = json.loads(typed(capsys, "ask", "Where was Odwin Marrack born?", "--json", "--quiet"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tiny("llama", Path("mine"), seed=1)
    assert json.loads(typed(capsys, "ask", "Where was Odwin Marrack born?", "--json", "--quiet", "--runs", "../runs")) == before
    tiny("llama", mine, seed=1)
    assert main(["ask", "Where was Odwin Marrack born?", "--quiet", "--runs", "../runs"]) == 6
    assert "mine is no longer the model that run" in capsys.readouterr().err


def test_a_policy_beside_every_baseline(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts.load()
    baselines = [entry.name for entry in parts.KINDS["baseline"] if entry.build(entry.settings()).asked and not entry.name.endswith("_directives")]
    settings = (
        "--eval.baselines",
        *baselines,
        "--cold-start.enabled",
        "--cold-start.passages",
        "2",
        "--rounds",
        "1",
        "--propose.strategies",
        "span-qa",
    )
    train = json.loads(typed(capsys, "train", "--model", str(tiny_model), *FLAGS, *settings, "--json"))
    found = json.loads(Path(train["folder"], "results.json").read_text(encoding="utf-8"))
    assert {row["name"] for row in found["rows"]} == {*baselines, "cold_start", "after_rl", "chance"}
    assert all(row["n"] == found["rows"][0]["n"] and (row["tokens"] > 0) == (row["name"] not in ("base", "chance")) for row in found["rows"])
    with monkeypatch.context() as patch:
        patch.setattr("selfedit.baselines.oracle.Oracle.measure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["eval", "--policy", train["run"], "--quiet"]) == 130
    measured = json.loads(typed(capsys, "eval", "--resume", "latest", "--quiet", "--json"))
    assert json.loads(Path(measured["folder"], "results.json").read_text(encoding="utf-8")) == found
