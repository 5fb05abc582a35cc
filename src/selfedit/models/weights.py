"""A folder becomes a model, frozen and in eval mode, and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfedit.errors import ModelError
from selfedit.models.folder import check
from selfedit.models.libraries import first_line, quiet
from selfedit.models.tokenizer import HFTokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load(folder: Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> tuple[PreTrainedModel, HFTokenizer]:
    """Open the model of `folder` (safetensors only, never its code) and its tokenizer. Raises ModelError when it cannot be opened whole."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    open_model: Any = AutoModelForCausalLM.from_pretrained
    check(folder)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model, report = open_model(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            model = model.to(device).eval().requires_grad_(False)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot open the model in {folder}: {first_line(error)}") from error
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(f"the weights in {folder} are incomplete: {absent[0]} is missing ({len(absent)} in all); fetch or save the model again")
    return model, HFTokenizer(tokenizer)
