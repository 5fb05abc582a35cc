"""What a run ran on, and which model: the same model has the same fingerprint, another has another."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfedit.system import environment


def model(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_fingerprints(tmp_path: Path) -> None:
    small = environment.fingerprint(model(tmp_path / "a", b"1234"))
    assert small == environment.fingerprint(model(tmp_path / "b", b"1234")) != environment.fingerprint(model(tmp_path / "c", b"1235"))
    (tmp_path / "a" / "origin.json").write_text("where it came from", encoding="utf-8")
    assert environment.fingerprint(tmp_path / "a") == small


def test_large_files_are_looked_at_from_end_to_end(tmp_path: Path) -> None:
    size = 20 * 2**20
    zeros = environment.fingerprint(model(tmp_path / "zeros", bytes(size)))
    last = environment.fingerprint(model(tmp_path / "last", bytes(size - 1) + b"1"))
    shorter = environment.fingerprint(model(tmp_path / "shorter", bytes(size - 1)))
    middle = bytearray(size)
    middle[::1000] = b"1" * len(middle[::1000])
    assert len({zeros, last, shorter, environment.fingerprint(model(tmp_path / "middle", bytes(middle)))}) == 4


GROUPS: list[tuple[str, dict[str, str], int, int]] = [
    ("0::/", {"memory.max": "max", "cpu.max": "max 100000"}, 64, 64 * 2**30),
    ("0::/", {"memory.max": str(4 * 2**30), "cpu.max": "150000 100000"}, 1, 4 * 2**30),
    ("0::/pod/job", {"pod/memory.max": str(2**30), "pod/job/memory.max": str(2**31), "pod/job/cpu.max": "800000 100000", "cpu.max": "max"}, 8, 2**30),
    ("0::/gone", {}, 64, 64 * 2**30),
    (
        "4:memory:/box\n1:cpu:/box",
        {"memory/memory.limit_in_bytes": str(2**32), "cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"},
        2,
        2**32,
    ),
    ("4:memory:/box", {"memory/box/memory.limit_in_bytes": str(2**63 - 4096), "cpu/cpu.cfs_quota_us": "-1"}, 64, 64 * 2**30),
    ("0::/", {"cpu.max": "5000 100000"}, 1, 64 * 2**30),
]


@pytest.mark.parametrize(("groups", "files", "cores", "memory"), GROUPS)
def test_limits_of_control_groups(
    groups: str, files: dict[str, str], cores: int, memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of 64 cores and 64 GiB: the least that a group around the process allows, in either version of control groups."""
    for name, text in (files | {"proc/self/cgroup": groups}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(environment, "PROC", tmp_path / "proc")
    monkeypatch.setattr(environment, "CGROUPS", tmp_path)
    monkeypatch.setattr(environment.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(environment.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**24}.__getitem__)
    assert (environment.cores(), environment.memory_bytes()) == (cores, memory)


def test_record_names_what_numbers_depend_on() -> None:
    found = environment.record()
    assert {"python", "system", "processor", "cores", "memory_gb", "folder", "torch", "transformers"} <= found.keys()
    assert all(isinstance(value, str) and value for value in found.values())
    assert environment.version("no-such-library") == "missing"


def test_revision_is_that_of_this_code_only(tmp_path: Path, monkeypatch: object) -> None:
    revision = environment.revision()
    assert revision is None or len(revision.split()[0]) == 40
