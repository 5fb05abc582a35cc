"""The adapters in a run folder: written whole or not at all, known by their digest, and never used where that has changed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from selfedit.config import parse_recipe
from selfedit.disk import sync_folder, sync_whole
from selfedit.errors import DataError, LedgerError
from selfedit.ledger import Reader
from selfedit.types import Artifact

BASIS = "basis"
"""Where a run has the adapter whose directions edit vectors weigh. It is a part of others, and none to be asked."""
_SUFFIXES = (".json", ".safetensors")
_BLOCK = 2**20


def write_adapter(folder: Path, export: Callable[[Path], None]) -> None:
    """Write an adapter with `export(draft)`: when this returns, it is whole and on the disk, and survives a power cut.

    One that is there already is replaced only after the new one is whole.
    """
    draft, old = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    for left in (draft, old):
        shutil.rmtree(left, ignore_errors=True)
    export(draft)
    sync_whole(draft)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    sync_folder(folder.parent)
    sync_folder(folder.parent.parent)  # where the parent itself may be new
    shutil.rmtree(old, ignore_errors=True)


def seal(run: Path, path: str, name: str = "") -> Artifact:
    """What the ledger holds of the adapter in the folder `path` of a run: its place, and the SHA-256 of its configuration and weights."""
    return Artifact(name or path, path, digest_of(run / path))


def check(run: Path, artifact: Artifact) -> Path:
    """The folder of an adapter. Raises LedgerError where it is no longer what the run recorded."""
    folder = run / artifact.path
    if not folder.is_dir():
        raise LedgerError(f"adapter {artifact.name} of run {run.name} is gone: restore {folder} from a copy, or make a new run")
    if digest_of(folder) != artifact.sha256:
        raise LedgerError(
            f"adapter {artifact.name} of run {run.name} is no longer the one that the run recorded, by its SHA-256: "
            f"restore {folder} from a copy, or make a new run"
        )
    return folder


def adapter_of(run: Path) -> Path:
    """The adapter that a run of `learn` made. Raises DataError for a run without one, and says what it has; LedgerError as `check`."""
    with Reader(run) as reader:
        command, found = reader.info().command, [artifact for artifact in reader.artifacts() if artifact.path == "adapter"]
    if found:
        return check(run, found[0])
    if command == "train":
        updates = ", then ".join(path.relative_to(run).as_posix() for path in rounds_of(run)) or "not trained yet"
        raise DataError(
            f"run {run.name} is one of `selfedit train`, which makes a policy and learns no documents; measure it with `selfedit eval --policy "
            f"{run.name}`. Its adapters are in {run}, in PEFT's format, to be merged into the model one after the other: {updates}"
        )
    if command == "eval":
        raise DataError(f"run {run.name} is one of `selfedit eval`, which leaves no adapter; runs of `selfedit learn` do")
    raise DataError(f"run {run.name} has no adapter yet, it is not finished: selfedit learn --resume {run.name}")


def rounds_of(run: Path) -> list[Path]:
    """The adapters that a run of `train` made of its policy: of the cold start, and one a round, or the last one alone if it started over."""
    with Reader(run) as reader:
        recipe = parse_recipe(reader.info().recipe, source=f"recipe of run {run.name}")
        found = [check(run, artifact) for artifact in reader.artifacts() if artifact.path.startswith("policy/")]
    if not found:
        return []
    *before, last = found
    number = last.name.removeprefix("round-")
    alone = number.isdecimal() and recipe.open("algorithm").starts_over(int(number), recipe.rounds)
    return [path for path in before if not (alone and path.name.startswith("round-"))] + [last]


def copy_adapters(adapters: Mapping[str, Path], out: Path) -> None:
    """Whole copies in a new folder, each at its place below it (empty: the folder itself), or none."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        for place, adapter in adapters.items():
            shutil.copytree(adapter, Path(scratch) / out.name / place)
        (Path(scratch) / out.name).rename(out)


def digest_of(folder: Path) -> str:
    """SHA-256, hex, of the configuration and the weights one after the other. What else lies in the folder does not count."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES and not file.name.startswith(".")):
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
