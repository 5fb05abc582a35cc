"""Months of learning, forgetting and consolidating in a minute, with kills and a full disk in between.

1. After every kill the library is whole: every version that is kept has its adapters, byte for byte, and can be gone back to by its digest.
2. What is found by words is exactly what is in force.
3. With a limit on versions the disk holds only what they need, and nothing that a kill left behind.
4. A full disk costs the change under way and nothing else.
5. Routing among 10,000 documents takes no longer for a later document than the index allows: the plan of the query uses it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from tests.e2e.house import CORPUS

from selfedit.errors import DataError, LedgerError
from selfedit.library import Document, Entry, Library
from selfedit.library.routing import candidates
from selfedit.store.artifacts import digest_of

KEEP = 12
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["selfedit.library"])


def adapter(folder: Path, name: str, *documents: Document) -> Entry:
    """A small adapter that is not trained."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "adapter_config.json").write_text("{}", encoding="utf-8")
    (place / "adapter_model.safetensors").write_bytes(name.encode() * 500)
    return Entry(digest_of(place), place, documents, "m", {}, name)


def documents() -> list[Document]:
    rows = [json.loads(line) for line in Path(CORPUS).read_text(encoding="utf-8").splitlines()]
    return [Document(row["title"], row["context"]) for row in rows]


def lives(root: Path, seed: int) -> None:
    """Changes the library until it is killed."""
    rng, known, library, made = random.Random(seed), documents(), Library(root), root / "made"
    while True:
        document, name, choice = rng.choice(known), f"{seed}-{rng.random()}", rng.random()
        try:
            if choice < 0.6:
                library.add([adapter(made, name, document)], note=name, keep=KEEP)
                shutil.rmtree(made / name)
            elif choice < 0.75:
                library.forget([rng.choice(library.documents()).id], "one")
            elif choice < 0.9:
                library.rollback(rng.choice(library.history()).number)
            else:
                library.add([adapter(made, name, *library.documents())], note=name, action="consolidate", keep=KEEP)
        except (DataError, IndexError):
            pass


def whole(library: Library) -> None:
    """Promises 1 to 3."""
    history = library.history()
    assert [one.number for one in history] == list(range(history[0].number, history[-1].number + 1))
    needed = set()
    for version in history:
        for entry in library.entries(version.number):
            library.check(entry.id)
            needed.add(entry.id)
        assert sum(len(entry.documents) for entry in library.entries(version.number)) == version.documents
    in_force = {document.id for document in library.documents()}
    for document in documents():
        found = {one.document.id for one in candidates(library, [document.title], most=500)[0]}
        assert (document.id in found) == (document.id in in_force)
        assert found <= in_force
    assert needed <= {folder.name for folder in (library.folder / "adapters").iterdir()}


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path) -> None:  # promises 1 to 3
    library, rng = Library(tmp_path), random.Random(0)
    for seed in range(25):
        process = PROCESSES.Process(target=lives, args=(tmp_path, seed))
        process.start()
        time.sleep(0.5 + rng.random() * 0.7)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        if library.exists() and library.history():
            whole(library)
            for version in rng.sample(library.history(), min(2, len(library.history()))):
                assert library.rollback(version.number).digest == version.digest
    assert library.history()[-1].number > 100
    last = library.add([adapter(tmp_path / "made", "last", documents()[0])], note="last", keep=KEEP)
    assert len(library.history()) == KEEP and last.documents >= 1
    kept = {entry.id for version in library.history() for entry in library.entries(version.number)}
    assert {folder.name for folder in (library.folder / "adapters").iterdir()} == kept  # nothing that a kill left behind


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 4
    library, [first, second, *_] = Library(tmp_path), documents()
    library.add([adapter(tmp_path / "made", "one", first)], note="one")
    before = library.history()

    def full(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        with pytest.raises(LedgerError, match=r"No space left on device; what was in force still is"):
            library.add([adapter(tmp_path / "made", "two", second)], note="two")
    assert library.history() == before and library.documents() == [first]
    library.add([adapter(tmp_path / "made", "two", second)], note="two")
    assert library.documents() == [first, second]


@pytest.mark.slow
def test_many_documents(tmp_path: Path) -> None:  # promise 5
    rng = random.Random(0)
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("la", "ro", "min", "tas", "ver")]
    many = [Document(f"{rng.choice(words)} {n}", " ".join(rng.choices(words, k=120))) for n in range(10_000)]
    library = Library(tmp_path)
    library.add([adapter(tmp_path / "made", str(n), *many[n : n + 500]) for n in range(0, len(many), 500)], note="many")
    for n in (0, 4_999, 9_999):
        assert candidates(library, [f"What does {many[n].title} say?"])[0][0].document.title == many[n].title
