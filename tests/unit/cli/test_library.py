"""The commands that look after what was learned, typed as a user types them, on the fake engine.

1. log, diff, forget and rollback say and do what they promise, also as JSON.
2. consolidate puts one adapter in the place of many; what is learned afterwards joins it; rollback brings the many back.
3. A guard that is against the consolidated adapter keeps the library as it was, until --keep. A library that has changed is not consolidated.
4. Names of documents are titles, parts of them, or the beginning of an id; others are refused in one line.
5. report --library writes the page of what is in force; where nothing was ever learned, one line says so.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.house import CORPUS, House

from selfedit.guards import reject
from selfedit.library import Library


def test_log_diff_forget_rollback(house: House) -> None:  # promises 1 and 5
    assert "nothing was learned yet" in house.fine("log") and "nothing was learned yet" in house.refused("report", "--library")
    assert "leave 'r' out" in house.refused("report", "r", "--library")
    house.learn()
    rows = json.loads(house.fine("log", "--documents", "--json"))
    out = Path(house.fine("report", "--library").strip())
    documents = out.read_text(encoding="utf-8").split("<tr data-document=")[1:]
    assert out == Path("runs/library/report.html") and [row[1:17] for row in documents] == [row["id"] for row in rows]
    assert "of 1,466 everyday prompts" in documents[-1].partition('id="gate"')[2]
    assert not any("–" in row.partition("</tr>")[0] for row in documents), "a run of learn measures all that is shown"
    assert [row["title"] for row in rows] == ["Odwin Marrack", "Ommelin Drusk", "Odrille Vantuse"]
    assert "forgotten" in house.fine("forget", "Ommelin Drusk")
    assert json.loads(house.fine("diff", "1", "--json")) == {"added": [], "removed": ["Ommelin Drusk"], "learned anew": []}
    assert json.loads(house.fine("diff", "2", "1", "--json"))["added"] == ["Ommelin Drusk"]
    assert "3 documents, as version 3" in house.fine("rollback")
    versions = json.loads(house.fine("log", "--json"))
    assert [one["action"] for one in versions] == ["learn", "forget", "rollback"]
    assert versions[0]["digest"] == versions[2]["digest"] != versions[1]["digest"]
    assert "in force" in house.fine("log").splitlines()[0]
    assert "the same documents" in house.fine("diff", "1")
    assert "no version 9" in house.refused("rollback", "9") and "no version 9" in house.refused("diff", "9")


def test_consolidate(house: House) -> None:  # promise 2
    assert "nothing is learned yet" in house.refused("consolidate")
    house.learn()
    library = Library(house.folder / "runs")
    many, documents = library.version(), {document.id for document in library.documents()}
    found = json.loads(house.fine("consolidate", "--json", "--quiet").splitlines()[-1])
    [one] = library.entries()
    assert found["in_force"] and one.run == found["run"] and {document.id for document in one.documents} == documents
    assert found["library"]["of"] == found["consolidated"]["of"] > 0
    assert json.loads(house.fine("ask", "Where was Odwin Marrack born?", "--json", "--quiet"))["adapter"] == one.id
    rest = house.folder / "rest.jsonl"
    rest.write_text(CORPUS.read_text(encoding="utf-8").splitlines()[3] + "\n", encoding="utf-8")
    house.fine("learn", "rest.jsonl", "--engine", "fake", "--propose.candidates", "1", "--quiet")
    assert len(library.entries()) == 2 and library.size() == 4
    assert many is not None
    house.fine("rollback", str(many.number))
    assert library.version().digest == many.digest  # type: ignore[union-attr]


def test_a_guard_against_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:  # promise 3
    house.learn()
    library = Library(house.folder / "runs")
    before = library.version()
    with monkeypatch.context() as patch:
        patch.setattr("selfedit.guards.worse.worse", lambda before, after: reject("it answers worse"))
        out = house.fine("consolidate", "--quiet")
    assert "it answers worse" in out and "--keep" in out and library.version() == before
    house.fine("consolidate", "--resume", "latest", "--keep", "--quiet")
    assert len(library.entries()) == 1
    assert "the library has changed since run" in house.refused("consolidate", "--resume", "latest", "--quiet")


def test_names(house: House) -> None:  # promise 4
    house.learn()
    library = Library(house.folder / "runs")
    first = library.documents()[0]
    for name in ("Nobody", "Od"):
        assert "called" in house.refused("forget", name)
    assert library.size() == 3
    house.fine("forget", first.id[:8], "drusk")
    assert [document.title for document in library.documents()] == ["Odrille Vantuse"]
