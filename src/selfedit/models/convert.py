"""A GGUF file opened once, and saved as a plain model that opens in a second: bf16 safetensors and a tokenizer."""

from __future__ import annotations

import errno
import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from selfedit.models.catalogue import Repairs
from selfedit.models.libraries import quiet


def convert(gguf: Path, folder: Path, repairs: Repairs) -> None:
    """Write the model of a GGUF file to `folder` in Hugging Face format. Takes 15 seconds to a minute and a half."""
    from safetensors import SafetensorError

    with quiet(), redirect_stderr(io.StringIO()):  # one bar of transformers heeds no setting
        tokenizer, model = _tokenizer(gguf, repairs), _model(gguf, repairs)
        tokenizer.model_max_length = model.config.max_position_embeddings
        if repairs.ends:
            model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(repairs.ends))
        tokenizer.save_pretrained(folder)
        try:
            model.save_pretrained(folder)
        except SafetensorError as error:  # how a full disk arrives from Rust
            raise OSError(errno.ENOSPC if "os error 28" in str(error) else errno.EIO, str(error)) from error


def _model(gguf: Path, repairs: Repairs) -> Any:
    """The model in bf16.

    transformers undoes the quantisation (and llama.cpp's permutation of q and k, and Gemma's norms stored as 1 + w), but marks the result
    as quantised and will not save it; so its tensors move into a plain model of the same class and configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM

    opened: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, local_files_only=True)
    config = opened.config
    del config.quantization_config
    if repairs.ties:
        config.tie_word_embeddings = True
        opened.get_input_embeddings().weight = opened.get_output_embeddings().weight
    with torch.device("meta"):
        plain = type(opened)(config)
    plain.load_state_dict(opened.state_dict(), assign=True, strict=True)
    plain.tie_weights()
    plain.generation_config = opened.generation_config
    return plain


def _tokenizer(gguf: Path, repairs: Repairs) -> Any:
    from tokenizers.normalizers import NFC
    from tokenizers.pre_tokenizers import Digits, Sequence
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    inner = tokenizer.backend_tokenizer
    if repairs.splits_digits:
        inner.pre_tokenizer = Sequence([Digits(individual_digits=True), inner.pre_tokenizer])
    if repairs.composes:
        inner.normalizer = NFC()
    return tokenizer
