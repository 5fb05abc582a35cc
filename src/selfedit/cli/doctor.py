"""Whether a machine has what selfedit needs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfedit.models.libraries import first_line
from selfedit.system import environment

NEEDED_GB = 0.8
"""Free space that fetching the default model takes at its peak, and a run after it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what is there and, where it is not good, what to do."""

    what: str
    state: Literal["good", "poor", "missing"]
    found: str
    advice: str = ""


def examine(runs: Path) -> list[Finding]:
    """Everything. Imports torch."""
    return [_python(), *_libraries(), *_processor(), _memory(), *_space(runs), *_models()]


def _python() -> Finding:
    return Finding("python", "good" if sys.version_info >= (3, 11) else "missing", sys.version.split()[0], "")


def _libraries() -> Iterator[Finding]:
    for name in ("torch", "transformers", "safetensors"):
        version = environment.version(name)
        try:
            __import__(name)
        except Exception as error:  # a broken library may raise anything
            found = "not installed" if version == "missing" else f"{version} cannot be imported: {first_line(error)}"
            yield Finding(name, "missing", found, f"pip install -U {name}")
        else:
            yield Finding(name, "good", version)


def _processor() -> Iterator[Finding]:
    cores = environment.cores()
    yield Finding("cores", "good" if cores > 1 else "poor", f"{cores} of {environment.processor()}")
    try:
        import torch

        from selfedit.engine.torch.engine import pick_device, pick_dtype
    except Exception:  # said above
        return
    device = pick_device("auto")
    if device.type == "cuda":
        found = f"{torch.cuda.get_device_name(0)}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB"
    else:
        found = "none that torch can use; the small models run on the processor"
    yield Finding("GPU", "good", found)
    fast = pick_dtype("auto", device) is torch.bfloat16
    yield Finding("bfloat16", "good", "fast here, and used" if fast else "slow on this processor: float32 is used, which takes more time and memory")


def _memory() -> Finding:
    gb = environment.memory_bytes() / 1e9
    advice = "close other programs, or lower engine.budget-tokens and engine.slots" if 0 < gb < 3.5 else ""
    return Finding("memory", "poor" if advice else "good", f"{gb:.1f} GB" if gb else "cannot be told", advice)


def _space(runs: Path) -> Iterator[Finding]:
    from selfedit.models.fetch import cache_folder

    for what, folder, variable in (("model cache", cache_folder(), "SELFEDIT_CACHE"), ("runs folder", runs, "SELFEDIT_RUNS")):
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free / 1e9
        if not there.is_dir() or not os.access(there, os.W_OK):
            yield Finding(what, "missing", f"{folder} cannot be written", f"set {variable} to another folder")
        elif free < NEEDED_GB:
            yield Finding(what, "poor", f"{folder}, {free:.1f} GB free", f"free some space, or set {variable} to another folder")
        else:
            yield Finding(what, "good", f"{folder}, {free:.0f} GB free")


def _models() -> Iterator[Finding]:
    from selfedit.models.catalogue import DEFAULT, packaged
    from selfedit.models.fetch import cached, command

    for model in packaged():
        folder = cached(model)
        if folder:
            yield Finding(model.name, "good", f"fetched, in {folder}")
        else:
            needed = model.name == DEFAULT
            yield Finding(model.name, "poor" if needed else "good", f"not fetched yet ({model.download_mb} MB)", command(model) if needed else "")
