"""The library keeps what was learned, version by version.

1. A document is in force once it is added, with the adapter that came with it, and survives that the run is deleted.
2. What is added later changes nothing of what was there; the same text learned again is known by the newer adapter alone.
3. A version is named by its contents: going back gives the digest of then, and can itself be taken back.
4. Forgetting takes out exactly the documents that are named.
5. A change is whole or not there, whatever fails in the middle of it; nothing is left behind.
6. Dropping old versions deletes the adapters that only they had, and no others.
7. Adapters of another model go out of force; an adapter that was tampered with is refused.
8. Two processes that add at the same time both succeed, each with a version of its own; one that has waited too long is refused.
9. With old versions dropped a rollback goes to what was in force before, or is refused: never to the untrained model in its place.
10. A library of an earlier schema is read as it is, and gets the new tables with the next change.
"""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from selfedit.errors import DataError, LedgerError
from selfedit.library import Document, Entry, Library, tables
from selfedit.library.gate import Features
from selfedit.store.artifacts import digest_of
from selfedit.types import Example


def made(folder: Path, name: str, *documents: Document, model: str = "m", run: str = "run-1") -> Entry:
    """An adapter whose weights are its name."""
    place = folder / "made" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "adapter_config.json").write_text(json.dumps({"name": name}), encoding="utf-8")
    (place / "adapter_model.safetensors").write_bytes(name.encode())
    return Entry(digest_of(place), place, documents, model, {"inner": {"format": "chat"}}, run)


A = Document("Alder Mill", "The mill was built by Odo.", ("Who built it?",), (Example("Odo", "Who built it?"), Example("The mill was built by Odo.")))
B = Document("Birch Weir", "The weir is of slate.")
C = Document("Cedar Lock", "The lock opens at noon.")


def titles(library: Library, number: int | None = None) -> list[str]:
    return [document.title for document in library.documents(number)]


def test_in_force_and_independent_of_the_run(tmp_path: Path) -> None:  # 1
    library = Library(tmp_path / "runs")
    assert library.version() is None and library.entries() == [] and library.size() == 0
    entry = made(tmp_path, "one", A)
    version = library.add([entry], note="run-1", gate={"threshold": 1.5})
    assert (version.number, version.documents, version.action, version.note, version.gate) == (1, 1, "learn", "run-1", {"threshold": 1.5})
    shutil.rmtree(entry.folder)
    [found] = library.entries()
    assert found.documents == (A,) and found.run == "run-1" and library.entry(found.id).recipe == {"inner": {"format": "chat"}}
    assert library.check(found.id).joinpath("adapter_model.safetensors").read_bytes() == b"one"


def test_later_ones_change_nothing(tmp_path: Path) -> None:  # 2
    library = Library(tmp_path)
    library.add([made(tmp_path, "one", A), made(tmp_path, "two", B)], note="")
    before = {e.id: e.documents for e in library.entries()}
    library.add([made(tmp_path, "three", C)], note="")
    assert before.items() <= {e.id: e.documents for e in library.entries()}.items()
    library.add([made(tmp_path, "newer", A)], note="")
    entries = {d.title: e.folder.joinpath("adapter_model.safetensors").read_bytes() for e in library.entries() for d in e.documents}
    assert entries == {"Alder Mill": b"newer", "Birch Weir": b"two", "Cedar Lock": b"three"}
    library.add([made(tmp_path, "one", A)], note="")  # and the older one again
    assert len(library.entries()) == 3
    assert {d.title: e.folder.joinpath("adapter_model.safetensors").read_bytes() for e in library.entries() for d in e.documents}[
        "Alder Mill"
    ] == b"one"


def test_back_to_a_version(tmp_path: Path) -> None:  # 3
    library = Library(tmp_path)
    first = library.add([made(tmp_path, "one", A)], note="", gate={"threshold": 1.0})
    second = library.add([made(tmp_path, "two", B)], note="", gate={"threshold": 2.0})
    assert first.digest != second.digest
    back = library.rollback()
    assert (back.number, back.digest, back.action, titles(library), back.gate) == (3, first.digest, "rollback", ["Alder Mill"], {"threshold": 1.0})
    assert library.rollback(2).digest == second.digest and titles(library) == ["Alder Mill", "Birch Weir"]
    assert titles(library, 3) == ["Alder Mill"] and titles(library, 1) == ["Alder Mill"]
    assert library.rollback().digest == first.digest
    assert library.rollback().documents == 0 and titles(library) == []
    with pytest.raises(LedgerError, match="nothing to roll back"):
        library.rollback()
    assert library.rollback(2).digest == second.digest
    with pytest.raises(LedgerError, match="no version 99"):
        library.rollback(99)
    with pytest.raises(LedgerError, match="nothing to roll back"):
        Library(tmp_path / "empty").rollback()


def test_forget(tmp_path: Path) -> None:  # 4
    library = Library(tmp_path)
    library.add([made(tmp_path, "one", A, B), made(tmp_path, "two", C)], note="")
    version = library.forget([B.id], "Birch Weir")
    assert titles(library) == ["Alder Mill", "Cedar Lock"] and version.action == "forget"
    with pytest.raises(DataError, match="none of these documents"):
        library.forget([B.id], "")
    assert library.version() == version
    library.rollback()
    assert titles(library) == ["Alder Mill", "Birch Weir", "Cedar Lock"]


@pytest.mark.parametrize("place", ["insert", "record_version", "put_in"])
def test_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:  # 5
    library = Library(tmp_path)
    library.add([made(tmp_path, "one", A)], note="")
    before = (library.history(), library.entries())

    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tables, place, fails)
        with pytest.raises(LedgerError, match="what was in force still is"):
            library.add([made(tmp_path, "two", B)], note="")
    assert (library.history(), library.entries()) == before
    library.add([made(tmp_path, "three", C)], note="")
    kept = {folder.name for folder in (library.folder / "adapters").iterdir()}
    assert kept == {entry.id for entry in library.entries()}  # the one that failed is gone


def test_old_versions_are_dropped(tmp_path: Path) -> None:  # 6
    library = Library(tmp_path)
    for n in range(6):
        library.add([made(tmp_path, f"adapter {n}", A)], note=str(n), keep=2)
    assert [one.number for one in library.history()] == [5, 6]
    assert len(list((library.folder / "adapters").iterdir())) == 2


def test_rollback_beyond_what_is_kept(tmp_path: Path) -> None:  # 9
    library = Library(tmp_path)
    for name, document in (("one", A), ("two", B)):
        library.add([made(tmp_path, name, document)], note="", keep=2)
    library.rollback()  # version 3, as version 1
    library.add([made(tmp_path, "three", C)], note="", keep=2)  # and version 1 is dropped
    assert [one.number for one in library.history()] == [3, 4]
    assert library.rollback().digest == library.history()[0].digest and titles(library) == ["Alder Mill"]
    for _ in range(2):
        with pytest.raises(LedgerError, match="there is no version 2"):
            library.rollback()
    assert titles(library) == ["Alder Mill"] and library.rollback(0).documents == 0


def test_consolidated_again(tmp_path: Path) -> None:  # 2
    library = Library(tmp_path)
    both = made(tmp_path, "both", A, B)
    library.add([both], note="", action="consolidate")
    library.add([made(tmp_path, "one", A)], note="")
    assert not library.has([both])
    library.add([both, made(tmp_path, "three", C)], note="", action="consolidate")  # B was known by it all the while
    assert library.has([both]) and sorted(titles(library)) == ["Alder Mill", "Birch Weir", "Cedar Lock"]


@pytest.mark.parametrize("version", [1, 2])
def test_an_earlier_schema(tmp_path: Path, version: int) -> None:  # 10
    library = Library(tmp_path)
    library.add([made(tmp_path, "one", A)], note="")
    with closing(sqlite3.connect(library.folder / "library.db", isolation_level=None)) as db:
        db.execute("DROP TABLE features")
        if version == 2:
            db.execute("CREATE TABLE gains (prompt TEXT, entry TEXT, gain REAL)")
        db.execute(f"PRAGMA user_version = {version}")
    assert titles(library) == ["Alder Mill"] and library.features() == {}
    library.set_gate(1, {"threshold": 2.0}, {("Hello?", A.id): Features(1.0, 2.0, -math.inf)})
    assert (
        library.features() == {("Hello?", A.id): Features(1.0, 2.0, -math.inf)}
        and library.history()[0].gate == {"threshold": 2.0}
        and titles(library) == ["Alder Mill"]
    )
    with closing(sqlite3.connect(library.folder / "library.db")) as db:
        assert not db.execute("SELECT name FROM sqlite_schema WHERE name = 'gains'").fetchall()
