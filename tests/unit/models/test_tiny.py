"""1. The same seed writes the same bytes, another seed others. 2. Norms and biases are not trivial. 3. Each family keeps its own traits."""

from pathlib import Path

import pytest
import torch

from selfedit.errors import ModelError
from selfedit.models import Family, load, tiny

FAMILIES: tuple[Family, ...] = ("llama", "qwen2", "qwen3", "mistral", "gemma3")


@pytest.mark.parametrize("family", FAMILIES)
def test_is_deterministic_and_leaves_the_global_generator_alone(family: Family, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, two, other = (tiny(family, tmp_path / name, seed=seed) for name, seed in (("one", 0), ("two", 0), ("other", 1)))
    assert torch.equal(torch.random.get_rng_state(), before)
    for file in sorted(one.iterdir()):
        assert (two / file.name).read_bytes() == file.read_bytes()
    assert (other / "model.safetensors").read_bytes() != (one / "model.safetensors").read_bytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_is_a_sensitive_test_subject(family: Family, tmp_path: Path) -> None:
    model, tokenizer = load(tiny(family, tmp_path), torch.float32)
    config = model.config
    assert (config.num_attention_heads, config.num_key_value_heads, config.vocab_size) == (4, 2, 384)
    assert model.dtype == torch.float32
    for name, parameter in model.named_parameters():
        assert parameter.std() > 0.05, name
    logits = model(torch.tensor([tokenizer.encode("Where is the river?")])).logits
    assert 0.3 < logits.std() < 5


def test_families_differ_where_they_should(tmp_path: Path) -> None:
    models = {family: load(tiny(family, tmp_path / family, layers=3), torch.float32)[0] for family in FAMILIES}
    tied = {family: model.get_input_embeddings().weight is model.get_output_embeddings().weight for family, model in models.items()}
    assert tied == {"llama": True, "qwen2": True, "qwen3": False, "mistral": False, "gemma3": True}
    names = {family: {name.split("layers.1.")[-1] for name, _ in model.named_parameters()} for family, model in models.items()}
    assert {family for family in names if "self_attn.q_proj.bias" in names[family]} == {"qwen2"}
    assert {family for family in names if "self_attn.q_norm.weight" in names[family]} == {"qwen3", "gemma3"}
    gemma = models["gemma3"].config
    assert gemma.layer_types == ["sliding_attention", "full_attention", "sliding_attention"]
    assert gemma.sliding_window == 16


def test_the_window_of_gemma_matters(tmp_path: Path) -> None:
    model, _ = load(tiny("gemma3", tmp_path, layers=1), torch.float32)
    ids = torch.arange(6, 46)[None]
    far = ids.clone()
    far[0, 0] = 300
    changed = (model(ids).logits - model(far).logits).abs().amax(-1)[0] > 0
    assert changed[:16].all()
    assert not changed[16:].any()


@pytest.mark.parametrize("vocab_size", [261, 1000])
def test_every_token_can_be_decoded(vocab_size: int, tmp_path: Path) -> None:
    model, tokenizer = load(tiny("llama", tmp_path, vocab_size=vocab_size), torch.float32)
    assert len(tokenizer.inner) == vocab_size == model.config.vocab_size
    assert all(tokenizer.decode([token]) for token in range(5, vocab_size))


def test_refuses_what_it_cannot_make(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tiny model of family 'bert'; there are llama, qwen2"):
        tiny("bert", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="vocab_size >= 261"):
        tiny("llama", tmp_path, vocab_size=100)
