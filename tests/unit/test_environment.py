"""What a run ran on, and which model: the same model has the same fingerprint, another has another."""

from __future__ import annotations

from pathlib import Path

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


def test_record_names_what_numbers_depend_on() -> None:
    found = environment.record()
    assert {"python", "system", "processor", "cores", "memory_gb", "folder", "torch", "transformers"} <= found.keys()
    assert all(isinstance(value, str) and value for value in found.values())
    assert environment.version("no-such-library") == "missing"


def test_revision_is_that_of_this_code_only(tmp_path: Path, monkeypatch: object) -> None:
    revision = environment.revision()
    assert revision is None or len(revision.split()[0]) == 40
