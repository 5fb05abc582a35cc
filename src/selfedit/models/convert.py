"""A GGUF file opened once, and saved as a plain model that opens in a second: bf16 safetensors and a tokenizer."""

from __future__ import annotations

import errno
import io
from contextlib import redirect_stderr
from pathlib import Path

from selfedit.models.libraries import quiet


def convert(gguf: Path, folder: Path, *, splits_digits: bool) -> None:
    """Write the model of a GGUF file to `folder` in Hugging Face format. Takes 15 to 45 seconds.

    transformers undoes the quantisation (and llama.cpp's permutation of q and k, and Gemma's norms stored as 1 + w), but marks the result
    as quantised and will not save it; so its tensors move into a plain model of the same class and configuration.
    """
    with quiet(), redirect_stderr(io.StringIO()):  # one bar of transformers heeds no setting
        _convert_weights(gguf, folder)
        _convert_tokenizer(gguf, folder, splits_digits)


def _convert_weights(gguf: Path, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    opened = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, local_files_only=True)
    config = opened.config
    del config.quantization_config
    with torch.device("meta"):
        plain = type(opened)(config)
    plain.load_state_dict(opened.state_dict(), assign=True, strict=True)
    plain.tie_weights()
    plain.generation_config = opened.generation_config
    try:
        plain.save_pretrained(folder)
    except SafetensorError as error:  # how a full disk arrives from Rust
        raise OSError(errno.ENOSPC if "os error 28" in str(error) else errno.EIO, str(error)) from error


def _convert_tokenizer(gguf: Path, folder: Path, splits_digits: bool) -> None:
    from tokenizers.pre_tokenizers import Digits, Sequence
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    if splits_digits:
        inner = tokenizer.backend_tokenizer
        inner.pre_tokenizer = Sequence([Digits(individual_digits=True), inner.pre_tokenizer])
    tokenizer.model_max_length = AutoConfig.from_pretrained(folder, local_files_only=True).max_position_embeddings
    tokenizer.save_pretrained(folder)
