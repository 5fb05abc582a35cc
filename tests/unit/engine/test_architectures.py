"""Models that the engine was not made for: on the fast way where their logits come out the same, else on the slow one, and never wrongly.

1. A model with ALiBi, logits scaled, attention of its own, or layers that are no attention, takes the slow way and says why; GPT-2 with its
   Conv1D layers, learned positions and others that go through transformers' registry do not.
2. On either way: training is PEFT with torch's AdamW (fp64), in company; greedy sampling is transformers' `generate` with the PEFT adapter, token
   for token (fp32); scores are a plain forward pass with the PEFT adapter (fp32, 1e-4).
3. A Llama sent the slow way trains, samples, scores and merges as on the fast one (fp64), with several workers too.
4. What cannot work says so in one line.
5. Small differences count in bf16 too: logits scaled by 0.8, attention sinks.
6. An adapter of a model with fused experts, beside which layers have the names that experts once had, says the same in PEFT.
7. Of a model of texts and pictures, only layers that a text passes through get adapters; the limit on lengths is that of its text model. PEFT opens
   the adapter without a warning.
8. With LongRoPE, texts end where the longer ones would change the shorter ones beside them.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from tests.unit.engine.by_peft import fresh_peft, initial, train_peft, updates
from tests.unit.engine.tiny_engine import VOCABULARY, distance, engine, flat, folder, job, loud, plain_logprobs, prose, reference

from selfedit.config import Recipe
from selfedit.engine.settings import TorchSettings
from selfedit.engine.torch import engine as engine_module
from selfedit.engine.torch.engine import Torch
from selfedit.engine.torch.fallback import Fallback, make_base
from selfedit.engine.torch.model import context_tokens
from selfedit.errors import EngineError
from selfedit.models import load
from selfedit.policy.opening import open_engine
from selfedit.types import Adapter, LoraShape, Optimizer, SampleRequest, Sampling, ScoreRequest

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
LLAMA = SIZES | {"intermediate_size": 64, "num_key_value_heads": 2}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("", GPT),
    "gpt_neox": ("", SIZES | {"intermediate_size": 64}),
    "opt": ("", SIZES | {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "olmo2": ("", LLAMA),
    "mixtral": ("", LLAMA | {"num_local_experts": 4, "experts_implementation": "eager"}),
    "cohere": ("its logits come out", LLAMA),
    "granite": ("its logits come out", LLAMA | {"logits_scaling": 4.0, "residual_multiplier": 0.5}),
    "phi": ("", LLAMA),  # a head with a bias
    "bloom": ("2 of its 2 layers do not attend through", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "falcon": ("2 of its 2 layers do not attend through", SIZES),
    "stablelm": ("it does not take what it is handed (KeyError: 'attend')", LLAMA),
    "gptj": ("2 of its 2 layers do not attend through", GPT | {"rotary_dim": 4}),
    "lfm2": ("1 of its 2 layers do not attend through", LLAMA | {"layer_types": ["conv", "full_attention"]}),
}
EXPERTS: dict[str, Any] = LLAMA | {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "experts_implementation": "eager"}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "num_key_value_heads": 4}
MIXED: dict[str, dict[str, Any]] = {
    "deepseek_v3": EXPERTS | LATENT | {"n_routed_experts": 4, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "n_shared_experts": 1},
    "qwen3_next": EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 16, "head_dim": 8, "layer_types": ["full_attention"] * 2},
    "qwen2_moe": EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 16},
}
SINKS = EXPERTS | {"num_local_experts": 4, "head_dim": 8, "layer_types": ["full_attention"] * 2}
RNG = random.Random(0)
PROMPTS = [prose(RNG, n) for n in (1, 22, 5)] + [prose(random.Random(1), 20) + prose(RNG, n) for n in (2, 9)]


def build(kind: str, dtype: torch.dtype) -> Any:
    """A model of random weights, large enough to matter everywhere; the same for the same kind."""
    own = OTHERS[kind][1] if kind in OTHERS else MIXED.get(kind, SINKS)
    options = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **own}
    make: Any = transformers.AutoModelForCausalLM.from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(transformers.AutoConfig.for_model(kind, **options))
        for parameter in model.parameters():
            scale = 0.2 if parameter.dim() < 2 else parameter[0].numel() ** -0.5
            parameter.data.normal_(1.0 if parameter.dim() < 2 else 0.0, scale)
    return model.to(dtype).eval()


def opened(kind: str, dtype: torch.dtype = torch.float64) -> Torch:
    tokenizer = load(folder("llama"), dtype)[1]
    return Torch(build(kind, dtype), tokenizer, TorchSettings(), name=kind)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("kind", OTHERS)
def test_says_which_way(kind: str, dtype: torch.dtype) -> None:  # promise 1
    machine = opened(kind, dtype)
    assert machine.slow.startswith(OTHERS[kind][0]) and bool(machine.slow) == bool(OTHERS[kind][0])


def test_announces_the_slow_way(tmp_path: Path) -> None:  # promise 1
    said: list[str] = []
    build("cohere", torch.float32).save_pretrained(tmp_path)
    for file in folder("llama").glob("*token*"):
        shutil.copy(file, tmp_path)
    open_engine(Recipe(model=str(tmp_path), engine={"type": "torch", "dtype": "float32"}), said.append)
    assert len(said) == 1 and "slow way" in said[0] and "away from transformers' own" in said[0]
    said.clear()
    open_engine(Recipe(model=str(folder("llama")), engine={"type": "torch", "dtype": "float32"}), said.append)
    assert said == []


@pytest.mark.parametrize("kind", OTHERS)
def test_training_is_what_peft_does(kind: str) -> None:  # promise 2
    machine = opened(kind)
    targets = ("q_proj", "v_proj") if kind == "mixtral" else ("all",)  # PEFT has a way with the routers of experts, this engine leaves them alone
    one = job(
        0,
        (20, 9, 14, 5),
        LoraShape(4, 8.0, targets),
        epochs=2,
        batch_size=2,
        optimizer=Optimizer(lr=2e-3, warmup_steps=1, weight_decay=0.05, clip=0.0),
    )
    trained = machine.train([job(7, (30, 4), epochs=2), one, job(8, (11, 12, 13), lora=LoraShape(3, 3.0))])[1]
    model = fresh_peft(build(kind, torch.float64), one.lora)
    losses = train_peft(model, one, *initial(machine, one))
    assert trained.losses == pytest.approx(losses, rel=1e-6)
    assert distance(*updates(machine, trained, model)) <= 1e-6


@pytest.mark.parametrize("kind", OTHERS)
def test_says_what_transformers_says(kind: str, tmp_path: Path) -> None:  # promise 2
    machine = opened(kind, torch.float32)
    adapters: list[Adapter | None] = [None, loud(machine, 0), loud(machine, 1, LoraShape(2, 32.0))]
    requests = [SampleRequest(p, Sampling(max_tokens=10, repetition_penalty=1.3), a) for p in PROMPTS for a in adapters]
    found = dict(zip([(r.prompt, r.adapter) for r in requests], machine.sample(requests), strict=True))
    asked = [(p, prose(RNG, n), a) for p, n in zip(PROMPTS, (1, 2, 30, 4, 7), strict=True) for a in adapters]
    scores = machine.score([ScoreRequest(p, c, a) for p, c, a in asked])
    assert len({c.tokens for c in found.values()}) > len(PROMPTS)
    for place, adapter in enumerate(adapters):
        model = build(kind, torch.float32)
        if adapter:
            machine.export(adapter, tmp_path / str(place))
            model = PeftModel.from_pretrained(model, str(tmp_path / str(place))).eval()
        for prompt in PROMPTS:
            tokens, ends = torch.tensor([prompt]), sorted(machine.ends)
            options = {"max_new_tokens": 10, "do_sample": False, "repetition_penalty": 1.3, "eos_token_id": ends, "pad_token_id": 0}
            wanted = model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), **options)[0, len(prompt) :].tolist()
            assert found[prompt, adapter].tokens == tuple(wanted), (place, len(prompt))
        for (prompt, completion, owner), score in zip(asked, scores, strict=True):
            if owner == adapter:
                assert score.logprobs == pytest.approx(plain_logprobs(model, prompt, completion).tolist(), abs=1e-4)


def slow_llama(monkeypatch: pytest.MonkeyPatch) -> Torch:
    def go(model: Any) -> tuple[Fallback, str]:
        model.enable_input_require_grads()
        return Fallback(model), "it was told to"

    monkeypatch.setattr(engine_module, "make_base", go)
    machine = engine("llama")
    assert isinstance(machine.base, Fallback)
    return machine


@pytest.mark.parametrize("budget", [1, 64, 1024])
@pytest.mark.parametrize("threads", [1, 2])
def test_both_ways_agree(monkeypatch: pytest.MonkeyPatch, threads: int, budget: int) -> None:  # promise 3
    fast, slow = engine("llama"), slow_llama(monkeypatch)
    slow.budget_tokens = budget
    torch.set_num_threads(threads)
    try:
        jobs = [job(i, (12, 30, 5, 9), LoraShape(1 + i, 8.0), epochs=2, batch_size=1 + i, optimizer=Optimizer(eps=1e-4)) for i in range(4)]
        mine, theirs = slow.train(jobs), fast.train(jobs)
        for a, b in zip(mine, theirs, strict=True):
            assert a.losses == pytest.approx(b.losses, rel=1e-9) and distance(flat(slow, a), flat(fast, b)) <= 1e-9
        settings = [Sampling(max_tokens=12, temperature=1.0, top_p=0.9, seed=i) for i in range(len(PROMPTS))]
        said, scores = [], []
        for machine, trained in ((slow, mine), (fast, theirs)):
            for adapter in (None, loud(machine, 5), trained[0].adapter):
                said.append([c.tokens for c in machine.sample([SampleRequest(p, s, adapter) for p, s in zip(PROMPTS, settings, strict=True)])])
                scores += [machine.score([ScoreRequest(p, PROMPTS[1], adapter) for p in PROMPTS])]
            machine.merge(loud(machine, 6))
            said.append([c.tokens for c in machine.sample([SampleRequest(p, s) for p, s in zip(PROMPTS, settings, strict=True)])])
    finally:
        torch.set_num_threads(1)
    assert said[:4] == said[4:]
    for a, b in zip(scores[:3], scores[3:], strict=True):
        assert [x for s in a for x in s.logprobs] == pytest.approx([x for s in b for x in s.logprobs], abs=1e-9)


class Tripled(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 3 * super().forward(x)


def tripled() -> Any:
    model = reference("llama", torch.float32)
    layer = model.model.layers[1].mlp.up_proj
    model.model.layers[1].mlp.up_proj = Tripled(layer.in_features, layer.out_features, bias=False)
    return model


def seq2seq() -> Any:
    sizes = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes))


def without_linears() -> Any:
    model = reference("llama", torch.float32)
    model.model.layers = torch.nn.ModuleList()
    return model


class Damped(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.8 * super().forward(x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_small_differences_count(dtype: torch.dtype) -> None:  # promise 5
    model = reference("qwen3", dtype)
    head = Damped(model.lm_head.in_features, model.lm_head.out_features, bias=False, dtype=dtype)
    head.weight.data.copy_(model.lm_head.weight)
    model.lm_head = head
    base, reason = make_base(model)
    assert isinstance(base, Fallback) and reason.startswith("its logits come out 0.25 of their norm away")
    base, reason = make_base(build("gpt_oss", dtype))
    assert isinstance(base, Fallback) and reason.startswith("its logits come out")
    base, reason = make_base(build("phi", dtype))
    assert not isinstance(base, Fallback) and reason == "" and base.head.bias is not None


def same_in_peft(machine: Torch, model: Any, scratch: Path) -> None:
    adapter = loud(machine)
    machine.export(adapter, scratch)
    opened = PeftModel.from_pretrained(model, str(scratch)).eval()
    theirs = plain_logprobs(opened, PROMPTS[1], PROMPTS[2]).tolist()
    [mine, without] = (machine.score([ScoreRequest(PROMPTS[1], PROMPTS[2], a)])[0].logprobs for a in (adapter, None))
    assert mine == pytest.approx(theirs, abs=1e-4) and mine != pytest.approx(without, abs=0.1)


@pytest.mark.filterwarnings("error:.*adapter keys")
@pytest.mark.parametrize("kind", MIXED)
def test_layers_named_as_experts_were(kind: str, tmp_path: Path) -> None:  # promise 6
    machine = opened(kind, torch.float32)
    assert not {site.name.rpartition(".")[2] for site in machine.base.sites} & {"gate_proj", "up_proj", "down_proj"}
    assert any(name.endswith("up_proj") for name in machine.base.others)
    same_in_peft(machine, build(kind, torch.float32), tmp_path)


def pictures() -> Any:
    text = {"vocab_size": VOCABULARY, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16, "head_dim": 8, **LLAMA}
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = transformers.Gemma3Config(text_config=text, vision_config=sizes, mm_tokens_per_image=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.Gemma3ForConditionalGeneration(config)
        for parameter in model.parameters():
            parameter.data.normal_(0.0, 0.2 if parameter.dim() < 2 else parameter[0].numel() ** -0.5)
    return model.eval()


@pytest.mark.filterwarnings("error:.*adapter keys")
def test_layers_that_no_text_passes(tmp_path: Path) -> None:  # promise 7
    machine = Torch(pictures(), load(folder("llama"), torch.float32)[1], TorchSettings())
    assert machine.slow == "" and machine.context_tokens == 256
    assert len(machine.base.sites) == 14 and all(".language_model." in site.name for site in machine.base.sites)
    same_in_peft(machine, pictures(), tmp_path)


def test_longrope() -> None:  # promise 8
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    lengths = {"original_max_position_embeddings": 64, "rope_parameters": rope}
    config = transformers.Phi3Config(**LLAMA, **lengths, vocab_size=VOCABULARY, pad_token_id=0, eos_token_id=2)  # type: ignore[arg-type]
    assert context_tokens(transformers.Phi3ForCausalLM(config)) == 64
    assert context_tokens(reference("llama")) == 1024


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (seq2seq, "T5ForConditionalGeneration is an encoder-decoder model"),
        (without_linears, "LlamaForCausalLM has no linear layer"),
        (tripled, "LlamaForCausalLM cannot carry adapters here; with its linear layers replaced, its logits come out"),
    ],
)
def test_what_cannot_work(make: Callable[[], Any], words: str) -> None:  # promise 4
    with pytest.raises(EngineError) as caught:
        make_base(make())
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)
