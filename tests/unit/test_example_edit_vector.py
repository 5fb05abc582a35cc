"""examples/edit_vector.py. 1. It stays one file under 150 lines without the framework. 2. Its edit is the change that the formula says, and leaves no
trace. 3. Its gradient is that of REINFORCE. 4. It learns: a planted reward rises. 5. A whole run ends.
"""

import ast
import importlib.util
import json
import random
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from selfedit.models import tiny

FILE = Path(__file__).parents[2] / "examples" / "edit_vector.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_edit_vector", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("llama", tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).requires_grad_(False)


def test_is_one_short_file_without_the_framework() -> None:  # promise 1
    text = FILE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {getattr(node, "module", None) or alias.name for node in imports for alias in node.names}
    assert {name for name in named if name.startswith("selfedit")} == {"selfedit.models"} and "peft" not in named


def test_the_edit(example: ModuleType, model: Any) -> None:  # promise 2
    basis = example.Basis(model, [1], seed=3)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    a = torch.tensor([1.0, -2.0, 0.5, 3.0])
    with basis.applied(a):
        during = {name: weight.clone() for name, weight in model.named_parameters()}
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], during[name])}
    assert changed == {name for name, weight in before.items() if ".layers.1." in name and weight.dim() == 2}
    weight, up, P, down, _ = basis.parts[0]
    U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
    assert torch.allclose(up @ down, (U[:, :2] * S[:2]) @ Vh[:2], atol=1e-5)
    name = "model.layers.1.self_attn.q_proj.weight"
    assert torch.allclose(during[name] - before[name], up @ sum(x * p for x, p in zip(a, P, strict=True)) @ down, atol=1e-5)


def planted(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A basis without a model, whose reward is known: minus the squared distance of the edit that is applied to 0.3 everywhere."""
    applied: list[torch.Tensor] = []

    class Basis:
        d = 4

        def applied(self, a: torch.Tensor) -> Any:
            from contextlib import nullcontext

            applied.append(a)
            return nullcontext()

    monkeypatch.setattr(example, "likelihood", lambda *_: -float(((applied[-1] - 0.3) ** 2).sum()))
    return Basis(), applied


def test_the_gradient(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    torch.manual_seed(0)
    basis, applied = planted(example, monkeypatch)
    policy, tasks, phi = example.Policy(4, 2), [{"questions": []}], [torch.tensor([1.0, 0.5])]
    args = Namespace(questions=1, pairs=2000)
    example.reinforce(policy, None, None, basis, tasks, phi, args, random.Random(0))
    ascent = -policy.M.grad[:, 0]
    assert torch.allclose(ascent, torch.full((4,), 0.6), atol=0.1)  # of −|a − 0.3|² at a = 0
    assert torch.allclose(policy.M.grad[:, 1], 0.5 * policy.M.grad[:, 0], atol=1e-6)
    assert torch.allclose(applied[0] + applied[1], torch.zeros(4), atol=1e-6)


def test_it_learns(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    torch.manual_seed(0)
    basis, _ = planted(example, monkeypatch)
    policy, tasks, phi = example.Policy(4, 2), [{"questions": []}] * 2, [torch.tensor([1.0, x]) for x in (1.0, -1.0)]
    for _ in range(40):
        example.reinforce(policy, None, None, basis, tasks, phi, Namespace(questions=1, pairs=4), random.Random(0))
    assert all(float(((policy.M @ one - 0.3) ** 2).sum().detach()) < 0.1 * 4 * 0.3**2 for one in phi)


def test_a_whole_run(example: ModuleType, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # promise 5
    rows = [
        {"title": f"Doc {n}", "context": f"Passage {n}.", "split": split, "questions": [{"question": f"What is {n}?", "answer": str(n)}]}
        for n, split in enumerate(["train", "heldout"] * 2)
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    args = ["--model", str(folder), "--corpus", str(tmp_path / "corpus.jsonl"), "--passages", "2", "--rounds", "2", "--pairs", "1"]
    results = example.run(example.parser().parse_args(args))
    assert len(results) == 3 and all(value < 0 for value in results)
    assert "under the edits of 8 numbers" in capsys.readouterr().out
