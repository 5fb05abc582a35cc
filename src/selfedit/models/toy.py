"""Tiny random models of real families, with a byte-level tokenizer: written in milliseconds, without a download, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from selfedit.errors import ModelError
from selfedit.models.libraries import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

Family = Literal["llama", "qwen2", "qwen3", "mistral", "gemma3"]

BOS, EOS, PAD, TURN, END = "<|bos|>", "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, BOS, EOS, TURN, END)
SMALLEST_VOCABULARY = 256 + len(SPECIAL)

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_PROSE = (
    "The model reads a passage and writes what follows from it. Then it is asked a question, and the answer is compared with the one that "
    "was given: what was learned is kept, and what was not is written again. Where is the river? When did the war begin? Who was the first "
    "to see that the number of people in the city had fallen by 1900? The capital of France is Paris. "
)


def tiny(family: Family, folder: Path, *, vocab_size: int = 384, layers: int = 2, hidden: int = 64, seed: int = 0, chat: bool = True) -> Path:
    """Write a random fp32 model of `family` to `folder`, which is returned: 4 query and 2 key-value heads, norm weights and biases away from 0 and 1.

    llama, qwen2 and gemma3 tie their embeddings, qwen3 and mistral do not; gemma3 slides over 16 tokens in every second layer; the heads of
    qwen3 and gemma3 are wider than hidden / 4. The qwen families have no beginning token. Raises ModelError for anything else.
    """
    if family not in get_args(Family):
        raise ModelError(f"no tiny model of family '{family}'; there are {', '.join(get_args(Family))}")
    if vocab_size < SMALLEST_VOCABULARY or hidden % 8 or hidden < 8 or layers < 1:
        raise ModelError(f"a tiny model needs vocab_size >= {SMALLEST_VOCABULARY}, hidden a multiple of 8 and at least one layer")
    tokenizer = _tokenizer(vocab_size, begins=not family.startswith("qwen"), chat=chat)
    _write_model(_config(family, vocab_size, layers, hidden), folder, seed)
    tokenizer.save_pretrained(folder)
    return folder


def _config(family: Family, vocab_size: int, layers: int, hidden: int) -> PreTrainedConfig:
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": SPECIAL.index(PAD),
        "bos_token_id": None if family.startswith("qwen") else SPECIAL.index(BOS),
        "eos_token_id": SPECIAL.index(EOS),
        "tie_word_embeddings": family not in ("qwen3", "mistral"),
        "dtype": "float32",
    }
    match family:
        case "llama":
            return transformers.LlamaConfig(**sizes, head_dim=hidden // 4)
        case "mistral":
            return transformers.MistralConfig(**sizes, head_dim=hidden // 4, sliding_window=None)
        case "qwen2":
            return transformers.Qwen2Config(**sizes)
        case "qwen3":
            return transformers.Qwen3Config(**sizes, head_dim=hidden // 2)
        case "gemma3":
            kinds = [("sliding_attention", "full_attention")[layer % 2] for layer in range(layers)]
            window: dict[str, Any] = {"sliding_window": 16, "layer_types": kinds}
            return transformers.Gemma3TextConfig(**sizes, **window, head_dim=hidden // 2, query_pre_attn_scalar=hidden // 2)


def _write_model(config: PreTrainedConfig, folder: Path, seed: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    open_model: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = open_model(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    norm_mean = 0.0 if config.model_type == "gemma3_text" else 1.0
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            mean, std = (norm_mean, 0.2) if "norm" in name else (0.0, 0.2)
            if parameter.dim() == 2 and "embed" not in name:
                std = parameter.shape[1] ** -0.5
            parameter.copy_(torch.normal(mean, std, parameter.shape, generator=generator))
    with quiet():
        model.save_pretrained(folder)


def _tokenizer(vocab_size: int, *, begins: bool, chat: bool) -> PreTrainedTokenizerFast:
    """Bytes, a few merges learned from a paragraph, and names for the ids that are left over, so that every id can be decoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocab_size, 512),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator([_PROSE], trainer)
    inner.add_tokens([f"<unused{n}>" for n in range(inner.get_vocab_size(), vocab_size)])
    if begins:
        inner.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, SPECIAL.index(BOS))])
    fast: PreTrainedTokenizerFast = make(
        tokenizer_object=inner,
        bos_token=BOS if begins else None,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=CHATML if chat else None,
        additional_special_tokens=[TURN, END],
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    return fast
