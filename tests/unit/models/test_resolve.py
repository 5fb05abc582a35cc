"""1. Each kind of name leads to a checked folder. 2. A name that leads nowhere says what to do. 3. Without a network it fails within seconds."""

import json
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from selfedit.errors import ModelError
from selfedit.models import identity, packaged, resolve, tiny


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFEDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny("llama", tmp_path / "org" / "mine")
    assert resolve(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert resolve("org/mine") == Path("org/mine")


def test_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an adapter names as its model has to lead there from elsewhere too."""
    folder = tiny("llama", tmp_path / "org" / "mine")
    monkeypatch.chdir(tmp_path)
    assert identity("org/mine") == identity(str(folder)) == identity("org/../org/mine") == str(folder)
    assert identity("smollm2-135m") == "HuggingFaceTB/SmolLM2-135M-Instruct" and identity("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"


def test_a_folder_with_the_name_of_a_packaged_model(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged_one, said = tiny("llama", cache / "smollm2-135m"), list[str]()
    monkeypatch.chdir(tmp_path)
    assert resolve("smollm2-135m", say=said.append) == packaged_one and not said
    folder = tiny("qwen3", tmp_path / "smollm2-135m")
    assert resolve("smollm2-135m", say=said.append) == packaged_one
    assert said == [f"smollm2-135m is the packaged model; for the folder of this name give {folder}"]
    assert resolve("./smollm2-135m") == Path("smollm2-135m")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "it has no config.json"),
        ({"adapter_config.json": "{}"}, "is a LoRA adapter"),
        ({"config.json": "{}"}, "no \\*.safetensors weights"),
        ({"config.json": "{}", "pytorch_model.bin": ""}, "pickled weights only"),
        (
            {
                "config.json": "{}",
                "model-1.safetensors": "",
                "model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}),
            },
            "incomplete: model-2.safetensors is missing",
        ),
        ({"config.json": "{}", "a.safetensors": "", "model.safetensors.index.json": "[]"}, "index.json cannot be read"),
    ],
)
def test_a_folder_that_is_no_model(files: dict[str, str], says: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=says):
        resolve(str(tmp_path))


def test_a_packaged_name_is_found_in_the_cache(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"not in the cache; fetch it with: selfedit pull smollm2-135m$"):
        resolve("smollm2-135m")
    with pytest.raises(ModelError, match=r"selfedit pull gemma-3-270m --accept-licence$"):
        resolve("gemma-3-270m", pull=True)
    folder = tiny("llama", cache / "smollm2-135m")
    assert resolve("smollm2-135m") == folder


def test_offline_pulls_nothing() -> None:
    with pytest.raises(ModelError, match="selfedit pull smollm2-135m"):
        resolve("smollm2-135m", pull=True, offline=True)


@pytest.mark.parametrize(("name", "near"), [("smolm2", "smollm2-135m"), ("Gemma-270m", "gemma-3-270m"), ("qwen-coder", "qwen2.5-coder-0.5b")])
def test_an_unknown_name_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ModelError, match=f"no model '{name}'; the nearest packaged one is '{near}'"):
        resolve(name)


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no folder \./nowhere"):
        resolve("./nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is a file"):
        resolve(str(tmp_path / "file"))


def test_a_hub_name_takes_only_safe_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(tiny("llama", tmp_path / "snapshot"))

    monkeypatch.setattr(huggingface_hub, "model_info", lambda name, timeout: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert resolve("org/name") == tmp_path / "snapshot"
    assert asked["name"] == "org/name"
    assert not asked["local_files_only"]
    files = ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "tokenizer.model", "merges.txt"]
    risky = ["pytorch_model.bin", "modeling.py", "onnx/config.json", "consolidated.safetensors", "model.gguf", "README.md"]
    kept = huggingface_hub.utils.filter_repo_objects(files + risky, allow_patterns=asked["allow_patterns"], ignore_patterns=asked["ignore_patterns"])
    assert list(kept) == files


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **options: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "model_info", refuse)
    with pytest.raises(ModelError) as caught:
        resolve("org/name")
    assert str(caught.value).startswith("cannot fetch org/name from the Hugging Face hub (Name or service not known); check the network")
    assert "\n" not in str(caught.value)


def test_a_hub_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfedit.models.hub.PATIENCE_S", -0.5)
    monkeypatch.setattr(huggingface_hub, "model_info", lambda name, timeout: time.sleep(5))
    start = time.monotonic()
    with pytest.raises(ModelError, match="no answer in"):
        resolve("org/name")
    assert time.monotonic() - start < 3


def test_offline_finds_what_was_fetched_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, *, local_files_only: bool, **options: Any) -> str:
        assert local_files_only
        if name == "org/unknown":
            raise LocalEntryNotFoundError("no")
        return str(tiny("llama", tmp_path / "snapshot"))

    monkeypatch.setattr(huggingface_hub, "model_info", lambda name, timeout: pytest.fail("asked the network"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert resolve("org/name", offline=True) == tmp_path / "snapshot"
    with pytest.raises(ModelError, match="cannot fetch org/unknown from the Hugging Face hub \\(offline\\)"):
        resolve("org/unknown", offline=True)


def test_the_packaged_models_say_what_they_are() -> None:
    names = [model.name for model in packaged()]
    assert names == ["smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b"]
    assert all(model.licence and model.description and model.source and model.download_mb and len(model.sha256) == 64 for model in packaged())
