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
PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


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
    """Cores this process may use: those of its affinity, and no more than its control groups give it time on."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_said(group / "cpu.max").split() or [_said(group / f"cpu.cfs_{part}_us") for part in ("quota", "period")] for group in _groups()]
    limits = [int(quota[0]) // int(quota[1]) for quota in quotas if len(quota) == 2 and all(part.isdigit() for part in quota) and int(quota[1])]
    return max(1, min([allowed, *limits]))


def memory_bytes() -> int:
    """Memory this process may use: the machine's, and no more than its control groups allow; 0 where it cannot be told."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
    limits = [_said(group / name) for group in _groups() for name in ("memory.max", "memory.limit_in_bytes")]
    return min([machine, *(int(limit) for limit in limits if limit.isdigit())])


def _groups() -> list[Path]:
    """The folders of this process's control groups and of those around them, in either version (man 7 cgroups)."""
    found: list[Path] = []
    for line in _said(PROC / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        root = CGROUPS / controllers
        group = root / path.strip("/")
        found += [group, *(folder for folder in group.parents if folder.is_relative_to(root))]
    return found


def _said(file: Path) -> str:
    """The text of a file of the system; nothing where there is none."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


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
