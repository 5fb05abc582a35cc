"""Adapters outlive training: merged, undone, written and read.

1. reset after any merges gives back the exact starting weights: the difference of logits is exactly zero. What was sampled and scored is, too.
2. merge computes what the adapter computes, and a second adapter works on top of it.
3. An exported adapter, opened by PEFT, gives the same logits (fp32, every family; all linear layers and a few).
4. load(export(x)) gives identical results to x, in fp32 and bf16.
5. An adapter that PEFT wrote is read.
6. What is no plain LoRA for this model is refused with ModelError, in words.
7. drop forgets; a dropped adapter, or another engine's, is an EngineError everywhere. Ids are never used twice.
8. Targets that no layer has are a ConfigError that names those there are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.engine.by_peft import fresh_peft
from tests.unit.engine.tiny_engine import FAMILIES, Family, distance, engine, flat, job, loud, plain_logprobs, prose, reference, with_peft
from torch import Tensor

from selfedit.engine.torch.engine import Torch
from selfedit.errors import ConfigError, EngineError, ModelError
from selfedit.types import Adapter, LoraShape, SampleRequest, Sampling, ScoreRequest

RNG = random.Random(0)
REQUESTS = [(prose(RNG, n), prose(RNG, m)) for n, m in ((1, 8), (20, 3), (7, 30))]
SOME = LoraShape(2, 64.0, ("q_proj", "down_proj"))


def scores(machine: Torch, adapter: Adapter | None = None) -> Tensor:
    return torch.tensor([p for s in machine.score([ScoreRequest(p, c, adapter) for p, c in REQUESTS]) for p in s.logprobs], dtype=torch.float64)


def said(machine: Torch, adapter: Adapter | None = None) -> list[str]:
    return [c.text for c in machine.sample([SampleRequest(p, Sampling(max_tokens=8, temperature=1.0, seed=1), adapter) for p, _ in REQUESTS])]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_reset_is_exact(dtype: torch.dtype) -> None:  # promise 1
    machine = engine("llama", dtype)
    before, words = scores(machine), said(machine)
    weights = {name: z.clone() for name, z in machine.base.backbone.state_dict().items()}
    one, two = loud(machine, 1), loud(machine, 2, SOME)
    for adapter in (one, two, one):
        machine.merge(adapter)
        assert not torch.equal(scores(machine), before)
    machine.reset()
    assert (scores(machine) - before).abs().max() == 0.0 and said(machine) == words
    assert all(torch.equal(z, weights[name]) for name, z in machine.base.backbone.state_dict().items())
    machine.reset()
    machine.merge(two)
    machine.reset()
    assert torch.equal(scores(machine), before)


def test_merge_is_the_adapter() -> None:  # promise 2
    machine = engine()
    one, two = loud(machine, 1), loud(machine, 2, SOME)
    alone, other = scores(machine, one), scores(machine, two)
    machine.merge(one)
    torch.testing.assert_close(scores(machine), alone, rtol=0, atol=1e-10)
    both = scores(machine, two)
    machine.merge(two)
    torch.testing.assert_close(scores(machine), both, rtol=0, atol=1e-10)
    machine.reset()
    assert torch.equal(scores(machine, two), other)


def test_many_small_merges_round_once() -> None:  # promise 2
    """In bf16, where each alone is lost: 50 of them are the weights that one merge of 50 times as much gives, bit for bit."""
    machine = engine("llama", torch.bfloat16)
    adapter = loud(machine)
    small = machine._adapters[adapter.id]
    small = machine._adapters[adapter.id] = replace(small, scale=2.0**-11)
    originals = [layer.weight.clone() for layer in machine.base.linears]
    machine.merge(adapter)
    after_one = sum(int((layer.weight != w).sum()) for layer, w in zip(machine.base.linears, originals, strict=True))
    for _ in range(49):
        machine.merge(adapter)
    for layer, w, down, up in zip(machine.base.linears, originals, small.down, small.up, strict=True):
        assert down is not None and up is not None
        expected = (w.double() + 50 * small.scale * (up.double().t() @ down.double())).bfloat16()
        assert (layer.weight != expected).float().mean() < 1e-3  # fp32 and fp64 may part at a tie
    after_all = sum(int((layer.weight != w).sum()) for layer, w in zip(machine.base.linears, originals, strict=True))
    assert after_one < 0.2 * after_all
    machine.reset()
    assert all(torch.equal(layer.weight, w) for layer, w in zip(machine.base.linears, originals, strict=True))


@pytest.mark.parametrize("shape", [LoraShape(4, 32.0), SOME, LoraShape(4, 32.0, layers=(0.5, 1.0))])
@pytest.mark.parametrize("family", FAMILIES)
def test_export_opens_in_peft(family: Family, shape: LoraShape, tmp_path: Path) -> None:  # promises 3 and 4
    machine = engine(family, torch.float32)
    adapter = loud(machine, lora=shape)
    machine.export(adapter, tmp_path / "adapter")
    mine, base = scores(machine, adapter), scores(machine)
    model = with_peft(family, tmp_path / "adapter", torch.float32)
    theirs = torch.cat([plain_logprobs(model, p, c) for p, c in REQUESTS]).double()
    assert (mine - base).abs().max() > 0.1
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)
    again = machine.load(tmp_path / "adapter")
    assert again != adapter and torch.equal(flat(machine, again), flat(machine, adapter))
    assert torch.equal(scores(machine, again), mine) and said(machine, again) == said(machine, adapter)


def test_load_after_export_in_bf16(tmp_path: Path) -> None:  # promise 4
    machine = engine("llama", torch.bfloat16)
    [trained] = machine.train([job(0)])
    assert trained.adapter is not None
    machine.export(trained.adapter, tmp_path)
    assert torch.equal(scores(machine, machine.load(tmp_path)), scores(machine, trained.adapter))


def test_reads_what_peft_wrote(tmp_path: Path) -> None:  # promise 5
    model = fresh_peft(reference("qwen2", torch.float32), SOME)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(str(tmp_path))
    machine = engine("qwen2", torch.float32)
    theirs = torch.cat([plain_logprobs(model, p, c) for p, c in REQUESTS]).double()
    torch.testing.assert_close(scores(machine, machine.load(tmp_path)), theirs, rtol=0, atol=1e-4)


def configured(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "adapter_model.safetensors"
        found = load_file(file)
        change(found)
        save_file(found, file)

    return spoil


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
SPOILED: dict[str, Callable[[Path], object]] = {
    "no PEFT adapter": lambda folder: (folder / "adapter_model.safetensors").unlink(),
    "no PEFT adapter with": lambda folder: (folder / "adapter_config.json").unlink(),
    "cannot be read": lambda folder: (folder / "adapter_config.json").write_text("{"),
    "cannot be read:": lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"nonsense"),
    "not a plain LoRA": configured(use_dora=True),
    "is not a plain LoRA": configured(peft_type="IA3"),
    "not a plain LoRA with": configured(rank_pattern={"q_proj": 8}),
    "not a plain LoRA with one": lambda folder: (folder / "adapter_config.json").write_text("[]"),
    "names no rank": configured(r=0),
    "names no rank and": configured(lora_alpha=None),
    "does not fit": configured(r=5),
    "does not fit this": tensors(lambda t: t.update({A: torch.zeros(2, 31)})),
    "another model": tensors(lambda t: t.update({A.replace("layers.0", "layers.9"): torch.zeros(2, 32)})),
    "made for another model": tensors(lambda t: t.clear()),
    "was made for another model": tensors(lambda t: t.pop(A)),
}


@pytest.mark.parametrize("words", SPOILED)
def test_refuses_what_does_not_fit(words: str, tmp_path: Path) -> None:  # promise 6
    machine = engine("llama", torch.float32)
    machine.export(loud(machine, lora=SOME), tmp_path)
    SPOILED[words](tmp_path)
    with pytest.raises(ModelError, match=words):
        machine.load(tmp_path)


def test_refuses_another_model(tmp_path: Path) -> None:  # promise 6
    machine = engine("llama", torch.float32)
    machine.export(loud(machine), tmp_path)
    with pytest.raises(ModelError):
        engine("qwen3", torch.float32).load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot write"):
        machine.export(loud(machine), tmp_path / "file")


def test_dropped_adapters(tmp_path: Path) -> None:  # promise 7
    machine = engine()
    gone, kept = loud(machine), loud(machine)
    machine.drop(gone)
    machine.drop(gone)
    for adapter in (gone, Adapter("another's")):
        for call in (
            lambda a: machine.sample([SampleRequest((5,), adapter=a)]),
            lambda a: machine.score([ScoreRequest((5,), (6,), a)]),
            lambda a: machine.merge(a),
            lambda a: machine.export(a, tmp_path),
        ):
            with pytest.raises(EngineError, match=adapter.id):
                call(adapter)
    assert len({gone, kept, loud(machine)}) == 3


def test_unknown_targets() -> None:  # promise 8
    machine = engine()
    for targets in (("q_proj", "w_proj"), ("q_proj", "all")):
        with pytest.raises(ConfigError, match="down_proj"):
            machine.train([job(0, lora=LoraShape(2, 2.0, targets))])


def test_initial_adapter_changes_nothing() -> None:
    """B starts at zero: at a learning rate of zero the adapter is the base."""
    machine = engine()
    one = job(0)
    trained = machine.train([type(one)(one.data, optimizer=type(one.optimizer)(lr=0.0))])[0]
    assert trained.adapter and torch.equal(scores(machine, trained.adapter), scores(machine))
    assert distance(flat(machine, trained), flat(machine, trained)) == 0
