"""1. A model opens frozen, whole and silently. 2. Whatever is wrong with a folder is one ModelError.

3. So is a tokenizer that is larger than the embeddings, where a text or the template can have such tokens; others do no harm.
4. A LoRA adapter beside the weights, which transformers would add unasked, is refused.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from selfedit.errors import ModelError
from selfedit.models import load, tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny("llama", tmp_path / "model")


def test_opens_frozen_and_silently(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    model, _ = load(folder, torch.bfloat16, "cpu")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (verbosity, bars)


def test_the_weights_are_the_saved_ones(folder: Path) -> None:
    saved = load_file(folder / "model.safetensors")
    model, _ = load(folder, torch.float32)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in saved.items())


def test_refuses_incomplete_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"incomplete: model\.layers\.1\.mlp\.up_proj\.weight is missing \(1 in all\)"):
        load(folder, torch.float32)


def test_refuses_damaged_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match=f"cannot open the model in {folder}"):
        load(folder, torch.float32)


def test_refuses_weights_of_another_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(ModelError, match="cannot open the model"):
        load(folder, torch.float32)


def test_never_runs_a_models_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    with pytest.raises(ModelError, match="cannot open the model"):
        load(folder, torch.float32)
    assert not (folder / "ran").exists()


def test_refuses_a_model_without_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(ModelError, match="cannot open the model"):
        load(folder, torch.float32)


def test_refuses_a_tokenizer_larger_than_the_model(folder: Path) -> None:  # promise 3
    tokenizer = load(folder, torch.float32)[1].inner
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|picture|>"]})
    tokenizer.save_pretrained(folder)
    assert len(load(folder, torch.float32)[1].inner) == 385
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>", "<|picture|>")
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"larger than its model: token 384 \('<\|picture\|>'\) has no row among 384 embeddings"):
        load(folder, torch.float32)


def test_refuses_an_adapter_beside_the_weights(folder: Path) -> None:  # promise 4
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds a model and a LoRA adapter"):
        load(folder, torch.float32)


def test_refuses_a_missing_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load(folder, torch.float32)
