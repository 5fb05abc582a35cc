"""examples/seal.py. 1. It stays one file under 200 lines without the framework. 2. Its judge and its pair reader do what they say.
3. A fact is never on both sides. 4. Its loss is the library's. 5. A dropped LoRA leaves no trace, a merged one does. 6. A whole round runs.
"""

import ast
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from selfedit.models import tiny

FILE = Path(__file__).parents[2] / "examples" / "seal.py"
pytest.importorskip("peft")
QUESTIONS = [{"fact": fact, "question": f"{how} {fact}?", "answer": f"gold {fact}"} for fact in range(4) for how in ("What is", "Name")]


@pytest.fixture(scope="module")
def seal() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_seal", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("llama", tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(folder: Path) -> Iterator[Any]:
    from transformers import AutoModelForCausalLM

    yield AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [{"title": f"Doc {n}", "context": f"Passage {n}.", "split": s, "questions": QUESTIONS} for n, s in enumerate(["train", "heldout"] * 2)]
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_is_one_short_file_without_the_framework() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {getattr(node, "module", None) or alias.name for node in imports for alias in node.names}
    assert {name for name in named if name.startswith("selfedit")} == {"selfedit.models"}
    assert [alias.name for node in imports if getattr(node, "module", "") == "selfedit.models" for alias in node.names] == ["resolve"]


@pytest.mark.parametrize(
    ("prediction", "gold", "verdict"),
    [
        ("It was the Pear Wood.", "pear wood", True),
        ("two of the five words here", "two of five others gone", True),
        ("two of four", "two of five others gone", False),
        ("pear", "pear wood", False),
        ("", "pear wood", False),
        ("the", "the", False),
        ("go go", "go go go", True),
    ],
)
def test_judges_by_the_share_of_gold_words(seal: ModuleType, prediction: str, gold: str, verdict: bool) -> None:
    assert seal.correct(prediction, gold) is verdict


@pytest.mark.parametrize(
    "text",
    [
        "Question: Who raised it?\nAnswer: Hedda",
        "Sure!\n\n1. **Question 1:** Who raised it?\n   **Answer:** Hedda\n",
        "Q: Who raised it? A: Hedda",
        "Question: Who raised it?\n\nAnswer:\nHedda",
    ],
)
def test_reads_pairs(seal: ModuleType, text: str) -> None:
    [(question, answer)] = seal.PAIR.findall(text)
    assert (question, answer.strip("* ")) == ("Who raised it?", "Hedda")


def test_reads_no_pair_where_the_answer_is_missing(seal: ModuleType) -> None:
    assert seal.PAIR.findall("Question: Who?\nAnswer:\nQuestion: When?\nAnswer: 1847") == [("When?", "1847")]
    assert seal.PAIR.findall('Q1: What price?\nA1: $5\nQ2: Which lens?\nA2: "Patience"') == [("What price?", "$5"), ("Which lens?", '"Patience"')]
    assert seal.PAIR.findall("Hedda raised the weir. Who else?") == []


def test_divides_questions_by_fact_and_the_same_way_each_time(seal: ModuleType, corpus: Path) -> None:
    tasks = list(seal.read_tasks(corpus, "train", 9, seed=0))
    assert tasks == list(seal.read_tasks(corpus, "train", 9, seed=0))
    assert {task.title for task in tasks} == {"Doc 0", "Doc 2"}
    for task in tasks:
        assert len(task.reward) == len(task.report) == 4
        assert not {gold for _, gold in task.reward} & {gold for _, gold in task.report}


def test_the_loss_is_the_librarys(seal: ModuleType, model: Any) -> None:
    """One step of its sft on one example moves the LoRA as one step on the library's own loss does."""
    tokens, learned = list(range(20, 50)), [False] * 20 + [True] * 10

    def b_weights(adapted: Any) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for name, p in adapted.named_parameters() if "lora_B" in name])

    with seal.lora(model, 4, seed=1) as adapted:
        seal.sft(adapted, [(tokens, learned)], lr=1e-2, epochs=1, batch=1, seed=0)
        ours = b_weights(adapted)
    with seal.lora(model, 4, seed=1) as adapted:
        labels = torch.tensor([[token if keep else -100 for token, keep in zip(tokens, learned, strict=True)]])
        adapted(torch.tensor([tokens]), labels=labels).loss.backward()
        weights = [p for p in adapted.parameters() if p.requires_grad]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.0).step()
        theirs = b_weights(adapted)
    assert ours.abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_dropped_lora_leaves_no_trace_and_a_merged_one_does(seal: ModuleType, model: Any) -> None:
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    example = (list(range(20, 40)), [True] * 20)
    for merge in (False, True):
        with seal.lora(model, 4, seed=0, merge=merge) as adapted:
            seal.sft(adapted, [example], lr=1e-2, epochs=2, batch=1, seed=0)
        after = model.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[name], before[name]) for name in before) is not merge


@pytest.mark.slow
def test_a_whole_round_runs_and_repeats(seal: ModuleType, folder: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--train", "1", "--heldout", "1", "--epochs", "1", "--dtype", "float32"]
    args = seal.parser().parse_args(["--model", str(folder), "--corpus", str(corpus), *few])
    assert (args.edits, args.rounds, args.seed) == (2, 1, 0)
    results = seal.run(args)
    printed = capsys.readouterr().out
    assert len(results) == 2 and len(results[0]) == 4
    assert "n = 4" in printed and "round 1" in printed
    assert seal.run(args) == results
    assert capsys.readouterr().out == printed
