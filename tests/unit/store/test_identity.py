"""What a run began with is what it goes on with, or the user is told.

1. A resume under another version of selfedit, torch or transformers, or on another processor, says so in one line, each time, and notes from which
   step on; the content hash does not see it. Under the same ones nothing is said or noted.
2. Relative paths of documents count from where a run was begun; from here, where that folder has gone. Documents that changed are refused.
3. What was shown is not learned from again, and what is measured on is not learned from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfedit.config import parse_recipe
from selfedit.errors import DataError
from selfedit.ledger import Ledger, Reader
from selfedit.loop import begin, learn_documents
from selfedit.store import identity, runs
from selfedit.system import environment
from selfedit.types import Demonstration, Passage, Question, Task

RECIPE = {"engine": {"type": "fake"}, "docs": ["docs.jsonl"], "propose": {"candidates": 2}}
DOCS = [{"title": "The mill", "context": "The mill at Orlow was built by Ada Brenk in 1802. It burned down in 1833. Since then the river runs free."}]


class Watcher:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def stage(self, title: str) -> Iterator[object]:
        yield lambda done, total: None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a run is begun, with its documents."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "docs.jsonl").write_text("\n".join(map(json.dumps, DOCS)), encoding="utf-8")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def interrupted(runs_folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> Path:
    """A run of `learn` that was stopped after so many steps."""
    with monkeypatch.context() as patch, pytest.raises(BaseException, match="stopped"):
        stop_after(patch, steps)
        with runs.begun(runs_folder, "learn", parse_recipe(RECIPE, source="test")) as ledger:
            learn(ledger, Watcher())
    [folder] = runs_folder.iterdir()
    return folder


def stop_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    step = Ledger.step

    def stopping(self: Ledger, *args: object) -> object:
        with Reader(self.folder) as reader:
            if len(reader.steps()) == steps:
                raise KeyboardInterrupt
        return step(self, *args)  # type: ignore[arg-type]

    patch.setattr(Ledger, "step", stopping)


def learn(ledger: Ledger, watcher: Watcher) -> None:
    passages = identity.documents(ledger, ledger.recipe.docs, "heldout")
    learn_documents(begin(ledger, watcher), passages)  # type: ignore[arg-type]
    ledger.finish()


def resumed(folder: Path) -> list[str]:
    """What is said when it is gone on with to the end."""
    watcher = Watcher()
    with runs.taken_up(folder.parent, folder.name, "learn") as ledger:
        learn(ledger, watcher)
    return watcher.said


def facts(folder: Path) -> tuple[object, str]:
    with Reader(folder) as reader:
        assert reader.info().status == "finished"
        return reader.notes().get("resumed"), reader.content_hash()


def under(patch: pytest.MonkeyPatch, **other: str) -> None:
    """From here on this is another machine, or has other versions."""
    record, version = environment.record, identity.metadata.version
    patch.setattr(environment, "record", lambda: record() | other)
    patch.setattr(identity.metadata, "version", lambda name: other.get(name) or version(name))


def test_other_versions_are_said_and_noted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 1
    whole = interrupted(home / "whole", monkeypatch, 3)
    assert resumed(whole) == [] and facts(whole)[0] is None
    folder = interrupted(home / "runs", monkeypatch, 2)
    torch = environment.record()["torch"]
    others = ({"torch": "9.9"}, {"torch": "9.9"}, {"selfedit": "7.0", "processor": "a better one"}, {})
    heard = []
    for number, other in enumerate(others):
        with monkeypatch.context() as patch:
            under(patch, **other)
            stop_after(patch, 3 + number)
            watcher = Watcher()
            with pytest.raises(BaseException, match="stopped"), runs.taken_up(folder.parent, folder.name, "learn") as ledger:
                learn(ledger, watcher)
            heard.append(watcher.said)
    line = f"run {folder.name} was begun with torch {torch}, now 9.9: its last digits may differ from those of a run in one go"
    assert heard[:2] == [[line], [line]] and heard[3] == []
    assert len(heard[2]) == 1 and "selfedit 0.1.0, now 7.0; processor" in heard[2][0] and "now a better one" in heard[2][0]
    assert resumed(folder) == []
    noted, content_hash = facts(folder)
    assert isinstance(noted, list) and [entry["after_steps"] for entry in noted] == [2, 4, 5]
    assert [entry["with"]["torch"] for entry in noted] == ["9.9", torch, torch] and noted[1]["with"]["selfedit"] == "7.0"
    assert content_hash == facts(whole)[1]


def test_documents_are_found_from_anywhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    whole = interrupted(home / "whole", monkeypatch, 3)
    assert resumed(whole) == []
    folder = interrupted(home / "runs", monkeypatch, 0)
    monkeypatch.chdir(home.parent)
    assert resumed(folder) == [] and facts(folder)[1] == facts(whole)[1]


def test_documents_are_found_where_the_folder_has_moved(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    folder = interrupted(home / "runs", monkeypatch, 0)
    monkeypatch.chdir(home.parent)
    shutil.move(home, home.parent / "moved")
    monkeypatch.chdir(home.parent / "moved")
    assert resumed(Path("runs", folder.name)) == []


def test_documents_that_changed_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 2
    folder = interrupted(home / "runs", monkeypatch, 0)
    changed = [DOCS[0] | {"context": DOCS[0]["context"].replace("1802", "1803")}]
    (home / "docs.jsonl").write_text("\n".join(map(json.dumps, changed)), encoding="utf-8")
    with pytest.raises(DataError, match="the documents have changed since run"):
        resumed(folder)


def test_what_is_kept_apart() -> None:  # promise 3
    a, b = Passage("a", "A", "About a."), Passage("b", "B", "About b.", (Question("Who?", "Ada"),))
    assert identity.without([a, b], [Demonstration(replaced(a))]) == [b] and identity.without([], []) == []
    with pytest.raises(DataError, match="the rounds have none left"):
        identity.without([a], [Demonstration(a)])
    identity.keep_apart([a], {identity.digest(b.context)})
    with pytest.raises(DataError, match="1 of 2 held-out passages are learned from as well, the first about 'B'"):
        identity.keep_apart([a, b], {identity.digest(b.context)})


def replaced(passage: Passage) -> Passage:
    """The same text under another name."""
    return Passage("another", "Another", passage.context)


def test_a_field_that_is_added_to_passages_changes_no_document(home: Path) -> None:  # promise 2
    """The digest is of what a passage says, not of how many fields it has."""
    passages = [Passage("a", "A", "About a.", (Question("Who?", "Ada"),))]
    with runs.begun(home / "runs", "learn", parse_recipe(RECIPE, source="test")) as ledger:
        identity._as_before(ledger, [], "tasks", Passage, lambda _: passages)
        with Reader(ledger.folder) as reader:
            noted = reader.notes()["documents for tasks"]
        said = '[{"id":"a","title":"A","context":"About a.","questions":[{"question":"Who?","answer":"Ada"}]}]'
        assert noted == {"passages": 1, "sha256": identity.digest(said)}
        ledger.step("tasks", Task, lambda: [])
