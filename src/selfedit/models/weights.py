"""A folder becomes a model, frozen and in eval mode, and its tokenizer."""

from __future__ import annotations

from importlib.util import find_spec
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
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **_placed(device)
            )
            model = model.to(device).eval().requires_grad_(False)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot open the model in {folder}: {first_line(error)}") from error
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(f"the weights in {folder} are incomplete: {absent[0]} is missing ({len(absent)} in all); fetch or save the model again")
    made = HFTokenizer(tokenizer)
    _check_vocabulary(made, model.get_input_embeddings().weight.shape[0], folder)
    return model, made


def _placed(device: torch.device | str) -> dict[str, object]:
    """The option by which weights are read straight into a GPU's memory; it needs the package accelerate."""
    return {} if str(device) == "cpu" or find_spec("accelerate") is None else {"device_map": device}


def _check_vocabulary(tokenizer: HFTokenizer, rows: int, folder: Path) -> None:
    """Raises ModelError where a text, or the chat template, would have tokens beyond the model's `rows` of embeddings."""
    unknown = sorted(token for token in tokenizer.used() if token >= rows)
    if unknown:
        name = tokenizer.inner.convert_ids_to_tokens(unknown[0])
        raise ModelError(f"the tokenizer in {folder} is larger than its model: token {unknown[0]} ({name!r}) has no row among {rows} embeddings")
