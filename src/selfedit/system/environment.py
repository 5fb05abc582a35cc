"""What a run ran on: versions, machine, code revision, and the fingerprint of its model. Loads nothing heavy."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pydantic")
_MODEL_FILES = (".json", ".safetensors", ".jinja", ".model", ".txt")
_BLOCK, _BLOCKS = 2**20, 16


def record() -> dict[str, str]:
    """The environment of a new run; `folder` is where relative paths of its recipe count from."""
    facts = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": str(cores()),
        "memory_gb": f"{memory_bytes() / 1e9:.1f}",
        "folder": str(Path.cwd()),
        **{name: version(name) for name in _LIBRARIES},
    }
    return facts | ({"revision": code} if (code := revision()) else {})


def version(library: str) -> str:
    """The installed version, or `missing`."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "missing"


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of the machine; 0 where it cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def processor() -> str:
    """Its name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def revision() -> str | None:
    """The commit of this code where it runs from a git checkout of its own, marked where files were changed since; None elsewhere."""
    here = Path(__file__).resolve().parent
    top = next((folder for folder in here.parents[:3] if (folder / ".git").exists()), None)
    if top is None or not shutil.which("git"):
        return None
    commit, changed = (_git(top, *arguments) for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", str(here))))
    return commit and f"{commit}{' with changes' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def fingerprint(model: Path) -> str:
    """SHA-256, hex, over configuration, tokenizer and weights in a model's folder. Of a large file: its size, and 16 blocks of 1 MiB."""
    digest = hashlib.sha256()
    for file in sorted(file for file in model.iterdir() if file.suffix in _MODEL_FILES and file.name != "origin.json"):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\n".encode())
        with file.open("rb") as stream:
            for block in range(_BLOCKS):
                stream.seek(block * _BLOCK if size <= _BLOCK * _BLOCKS else (size - _BLOCK) * block // (_BLOCKS - 1))
                digest.update(stream.read(_BLOCK))
    return digest.hexdigest()
