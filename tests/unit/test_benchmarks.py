"""The benchmarks do what they say, on a tiny random model. No time is asserted: only shapes, and that nothing promised is missing.

1. A run gives one row for every promise, with a finite value and what is needed to read it.
2. Rows are merged: a benchmark measured again takes the place of its older rows, others stay.
3. The results that are published have every promise, and the page shows them.
4. Ratios, deviations and multiplied costs are what they are said to be.
5. The contestants do the engine's work: the same log-probabilities, greedy tokens and losses in fp32.
6. On a GPU: random weights are drawn where the model runs, the same for the engine and the contestants; a profile counts what each operation
   launched, once; a contestant without memory leaves the engine's own row. In `card`, a part that
   fails or takes too long stops no other.
7. A growing library is measured at every size that was asked for, and is as large as that whenever it is.
8. An update of the policy is trained with common beginnings once, and as a whole; the engine is left as it was.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks import beginnings, card, library, machine, memory, models, page, profile, run, table, together
from benchmarks import bench as benches
from benchmarks.bench import TEST, Bench
from benchmarks.contestants import Learner, Writer
from benchmarks.data import LORA, job, sequences, statements
from benchmarks.machine import Cost
from benchmarks.table import LINES
from torch.autograd import DeviceType

from selfedit.config import Recipe, parse_recipe
from selfedit.models import tiny
from selfedit.policy.opening import open_policy
from selfedit.types import SampleRequest, Sampling, ScoreRequest

PROMISED = {(line.work, line.against) for line in LINES}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A run on a tiny model, on one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFEDIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(benches, "cores", lambda: 1)
        patch.setattr(machine, "LEAST_S", 0.001)
        threads = torch.get_num_threads()
        yield Bench("random-tiny", sizes=TEST)
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", run.BENCHMARKS)
def test_rows(small: Bench, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    if name in ("memory", "jobs"):
        monkeypatch.setattr(memory, "child", lambda *_, **__: {"cpu_s": 1.0, "wall_s": 1.0, "peak_gb": 0.5})
    rows = run.BENCHMARKS[name](small)
    table.merge(tmp_path / "results.json", {"processor": "none"}, rows)
    assert [(r["work"], r["against"]) for r in rows if r["at_least"]] == [(line.work, line.against) for line in LINES if line.bench == name]
    for row in rows:
        assert {"bench", "work", "against", "unit", "value", "at_least", "aim", "seed", "model", "quick"} <= row.keys() and row["bench"] == name
        assert math.isfinite(row["value"]) and row["value"] >= 0 and (row.get("low", 0) <= row.get("high", 0))
    assert table.table(rows).row_count == len(rows)


def test_a_child_says_what_it_took(small: Bench) -> None:  # promise 1
    found = memory.child(small, "small", 2, threads=1)
    assert found["cpu_s"] > 0 and 0.05 < found["peak_gb"] < 4


def test_merging(tmp_path: Path) -> None:  # promise 2
    file, old, new = tmp_path / "results.json", table.BF16.row(1.5), table.BF16.row(1.75)
    table.merge(file, {"cores": "1"}, [old, table.PADDED.row(30.0)])
    table.merge(file, {"cores": "1"}, [table.GENERATE.row(4.0)])
    assert [r["value"] for r in table.merge(file, {"cores": "2"}, [new])] == [1.75, 4.0]
    assert table.read(file)[0] == {"cores": "2"} and not list(tmp_path.glob("*.part"))
    assert [table.reached(line.row(value)) for line, value in ((table.BF16, 1.8), (table.BF16, 1.5), (table.BF16, 1.0), (table.MEMORY, 5.0))] == [
        "aim",
        "yes",
        "no",
        "yes",
    ]


@pytest.mark.skipif(not page.RESULTS.exists(), reason="nothing was measured yet")
def test_what_is_published() -> None:  # promise 3
    found = json.loads(page.RESULTS.read_text(encoding="utf-8"))
    assert {(r["work"], r["against"]) for r in found["rows"]} >= PROMISED and found["machine"]["processor"]
    marks = {(r["work"], r["against"]): (r["at_least"], r["aim"]) for r in found["rows"]}
    assert all(marks[line.work, line.against] == (line.at_least, line.aim) for line in LINES)
    assert page.figures(page.RESULTS) in page.PAGE.read_text(encoding="utf-8"), "run `python -m benchmarks.page`"


def test_arithmetic() -> None:  # promise 4
    assert machine.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == machine.Ratio(4.0 / 3.0, 1.0, 3.0)
    assert (Cost(1.0, 2.0) + Cost(1.0, 1.0)) * 2.5 == Cost(5.0, 7.5)
    assert memory.deviation([1.0, 1.0, 1.3]) == pytest.approx(0.2 / 1.1)
    layers = {"model.layers.0.self_attn.q_proj": (8, 4), "model.layers.0.mlp.up_proj": (16, 4), "lm_head": (10, 4)}
    assert models.flop_a_token(layers, LORA) == 4 * (32 + 64 + 40) + 6 * 32 * 12


def test_the_contestants_do_the_same_work(small: Bench, tmp_path: Path) -> None:  # promise 5
    engine, folder = small.engine(1), small.folder
    texts = sequences(engine.tokenizer, 3, 0)
    assert all(20 <= len(t) <= 300 for t in texts)
    assert [len(t) for t in statements(engine.tokenizer, 10)] == [len(t) for t in statements(engine.tokenizer, 20)[10:]]
    one = job(texts, 0)
    [trained] = engine.train([one])
    assert trained.adapter
    _, loss = Learner(folder, torch.float32, "cpu", LORA).train(one)
    assert loss == pytest.approx(sum(trained.losses) / len(trained.losses), rel=0.02)
    engine.export(trained.adapter, tmp_path / "one")
    writer = Writer(folder, engine.base.dtype, "cpu", [tmp_path / "one"])
    pairs = [(texts[0][:9], texts[0][9:14]), (texts[1][:6], texts[1][6:15])]
    together, apart = writer.logprobs(pairs, "one"), [writer.logprobs([pair], "one")[0] for pair in pairs]
    scores: list[Any] = engine.score([ScoreRequest(*pair, trained.adapter) for pair in pairs])
    for found in (together, apart):
        for mine, theirs in zip(scores, found, strict=True):
            assert list(mine.logprobs) == pytest.approx(theirs, abs=0.1)
    sampling = Sampling(5)
    mine = engine.sample([SampleRequest(prompt, sampling, trained.adapter) for prompt, _ in pairs])
    assert [len(c.tokens) for c in mine] == [len(row) for row in writer.generate([prompt for prompt, _ in pairs], sampling, "one")] == [5, 5]


def test_weights_are_drawn_where_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    monkeypatch.setenv("SELFEDIT_CACHE", str(tmp_path))
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
    }
    monkeypatch.setitem(models.RANDOM, "random-135m", shape)
    folder = models.folder_of("random-135m", "cuda")
    assert not list(folder.glob("*.safetensors")) and folder != models.folder_of("random-135m")
    recipe = Recipe.model_validate({"model": str(folder), "engine": {"type": "torch", "device": "cpu", "dtype": "float32"}})
    engine, other = models.open_engine(recipe), models.open_model(folder, torch.float32, "cpu")
    assert not engine.slow and torch.equal(engine.base.embed.weight, other.get_input_embeddings().weight)


def test_a_profile_counts_kernels_once() -> None:  # promise 6
    launched = SimpleNamespace(key="aten::mm", device_type=DeviceType.CPU, self_device_time_total=5.0, self_cpu_time_total=1.0)
    kernel = SimpleNamespace(key="ampere_gemm", device_type=DeviceType.CUDA, self_device_time_total=5.0, self_cpu_time_total=0.0)
    assert profile.by_kind([launched, kernel], on_gpu=True) == {"matrix products": 5.0}
    assert profile.by_kind([launched, kernel], on_gpu=False) == {"matrix products": 1.0}


def test_a_contestant_without_memory(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 6
    def train(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(together.Learner, "train", train)
    rows = together.run(small)
    assert len(rows) == 4 and all(row["unit"] == "tok/CPU-s" and row["value"] > 0 for row in rows) and table.table(rows).row_count == 4


def test_the_command_names_its_file() -> None:  # promise 2
    from benchmarks.command import Command

    assert Command().results == page.RESULTS
    assert Command(device="cuda:0", model="random-1b").results.name == "results-cuda-0-random-1b.json"
    command: Any = SimpleNamespace(only="trainign")
    with pytest.raises(SystemExit, match="trainign"):
        run.run(command)


def test_first_minutes_on_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # promise 6
    wanted = list(card.parts("cuda", ["random-135m", "random-7b"], False, tmp_path))
    assert [part.name for part in wanted[:3]] == ["driver", "facts", "tests"] and len(wanted) == 3 + 4 + 1
    assert "random-7b" in wanted[-1].command and "together" in wanted[-1].command
    here = [part for part in card.parts("cpu", ["random-tiny"], True, tmp_path) if part.name == "facts"]
    broken = [card.Part("slow", 1, [sys.executable, "-c", "import time; time.sleep(9)"]), card.Part("broken", 9, [sys.executable, "-c", "1 / 0"])]
    missing = card.Part("missing", 9, [str(tmp_path / "nowhere")])
    monkeypatch.setattr(card, "parts", lambda *_: [missing, *broken, *here])
    with pytest.raises(SystemExit) as ended:
        card.main(["--device", "cpu", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert ended.value.code == 1 and "ZeroDivisionError" in said and '"torch":' in (tmp_path / "out" / "facts.log").read_text()
    assert said.endswith("slow: its time was up\nbroken: failed with exit code 1\nfacts: done\n") and "missing: did not start" in said


@pytest.mark.slow
def test_a_card_that_is_a_cpu(tmp_path: Path) -> None:  # promise 6
    with pytest.raises(SystemExit) as ended:
        card.main(["--device", "cpu", "--models", "random-tiny", "--quick", "--out", str(tmp_path)])
    assert ended.value.code == 0 and len(list(tmp_path.glob("random-tiny-*.json"))) == 4


def test_common_beginnings(tmp_path: Path) -> None:  # promise 8
    policy = open_policy(parse_recipe({"model": str(tiny("llama", tmp_path / "tiny"))}))
    least = beginnings.branches.LEAST
    found = beginnings.measured(policy, "span-qa", documents=1, repeat=1)
    assert found["shared"]["tokens"] < 0.6 * found["whole"]["tokens"] == 0.6 * beginnings.update(policy, "span-qa", 1).tokens
    assert least == beginnings.branches.LEAST


def test_a_growing_library(tmp_path: Path) -> None:  # promise 7
    found = list(library.measure(tmp_path, model="fake", sizes=[2, 4], routing=6, repeat=2, learns=1, seed=0))
    assert [sizes for row in found for sizes in map(list, row.values())] == [[2, 4], [2, 4], [2, 4], [2, 4], [4], [6]]
