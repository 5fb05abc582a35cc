"""The page of a library.

1. It has every document in force with what its run measured and cost, every version with what it put in and took out, and the gate as it is.
2. What a run does not say any more is a dash, and the run is named.
3. Untrusted titles and texts are shown and never become markup; the search looks through them in the page, and nothing is fetched.
4. A library in which nothing is in force says so in one line.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.library.test_database import A, B, C, made
from tests.unit.report.story import HOSTILE
from tests.unit.report.test_report import Page, harmless

from selfedit.config import Recipe
from selfedit.ledger import Ledger, Reader
from selfedit.library import Document, Library
from selfedit.library.overview import overview
from selfedit.report.library import Calibration, Change, Known, Measured, Overview, render
from selfedit.types import Answer, Question, Result, Task

ASKED = tuple(Question(f"Question {n}?", "Odo") for n in range(4))


def measured(run: Path, document: Document) -> None:
    """The ledger of a run that learned a document: one of four answers right before, three after, one of them with as many words too many."""
    task = Task("t", document.title, document.context, report_questions=ASKED)
    said = {"base": ("Odo", "slate", "slate", "slate"), "after": ("Odo", "Odo", "Odo slate", "slate")}
    results = [Result(row, "t", tuple(Answer(q, p, "Odo" in p) for q, p in zip(ASKED, some, strict=True)), 3210) for row, some in said.items()]
    with Ledger.create(run, command="selfedit learn", recipe=Recipe(), environment={}) as ledger:
        ledger.step("tasks", Task, lambda: [task])
        ledger.step("compare", Result, lambda: results)
        ledger.finish()


def cells(html: str, document: str) -> list[str]:
    """What a row says after its title, without markup."""
    row = html.partition(f'data-document="{document}"')[2].partition("</tr>")[0]
    return [re.sub(r"<[^>]+>", " ", cell) for cell in row.split("<td")[1:]]


def test_documents_versions_and_gate(tmp_path: Path) -> None:  # promises 1 and 2
    library = Library(tmp_path)
    measured(tmp_path / "run-1", A)
    library.add([made(tmp_path, "one", A)], note="run-1")
    library.add([made(tmp_path, "two", B, C, run="run-2")], note="run-2", gate={"threshold": 0.0, "let_in": 0.0083, "kept": 0.75})
    library.forget([C.id], C.title)
    library.add([made(tmp_path, "three", B, run="run-3")], note="run-3", action="consolidate")
    library.rollback(3)
    found = overview(library)
    assert [(one.title, one.version, one.shared, one.consolidated, one.run) for one in found.known] == [
        (B.title, 2, 1, False, "run-2"),
        (A.title, 1, 1, False, "run-1"),
    ]
    assert found.adapters == 2 and found.size == sum(file.stat().st_size for name in ("one", "two") for file in (tmp_path / "made" / name).iterdir())
    [one] = found.measured
    assert (one.tokens, one.n, one.before, one.right, one.f1) == (3210, 4, 0.25, 0.75, pytest.approx((1 + 1 + 2 / 3 + 0) / 4))
    assert found.unread == ["run-2"] and found.mean("right") == 0.75 and found.asked == 1
    assert [(v.number, v.action, v.added, v.removed, v.anew, v.same) for v in found.versions] == [
        (1, "learn", (A.title,), (), (), None),
        (2, "learn", (B.title, C.title), (), (), None),
        (3, "forget", (), (C.title,), (), None),
        (4, "consolidate", (), (A.title,), (B.title,), None),
        (5, "rollback", (A.title,), (), (B.title,), 3),
    ]
    assert (found.gate.threshold, found.gate.let_in, found.gate.kept, found.gate.version) == (0.5, 0.0083, 0.75, 2)
    html = render(found)
    page = Page(html)
    assert "2 documents are in force." in page.text and "1 run cannot be read any more (run-2)" in page.text
    assert "version 2: of 1,466 everyday prompts 0.8\u202f% were taken" in page.text
    assert [cell.count("–") for cell in cells(html, B.id)] == [0, 1, 1, 1, 1, 0]
    assert not any("–" in cell for cell in cells(html, A.id))
    assert [attrs["data-version"] for tag, attrs in page.tags if "data-version" in attrs] == ["5", "4", "3", "2", "1"]


def test_time_is_shared_out(tmp_path: Path) -> None:  # promise 1
    library = Library(tmp_path)
    with Ledger.create(tmp_path / "run-1", command="selfedit learn", recipe=Recipe(), environment={}) as ledger:
        ledger.step("tasks", Task, lambda: [Task(d.title, d.title, d.context) for d in (A, B)])
        ledger.step("adapters", Task, list)
        ledger.finish()
    library.add([made(tmp_path, "one", A, B)], note="run-1")
    found = overview(library)
    with Reader(tmp_path / "run-1") as reader:
        half = reader.cost().wall_s / 2
    assert [(one.shared, one.measured) for one in found.known] == [(2, Measured(0, half))] * 2
    assert "Nothing was measured" in Page(render(found)).text
    library.rollback()
    page = Page(render(overview(library)))
    assert "Nothing is in force: the untrained model answers." in page.text and page.scripts == []  # promise 4


def test_untrusted_text_is_searched_and_never_markup(tmp_path: Path) -> None:  # promise 3
    library = Library(tmp_path)
    library.add([made(tmp_path, "one", Document(HOSTILE, HOSTILE * 2)), made(tmp_path, "two", A, run=HOSTILE)], note=HOSTILE)
    html = render(overview(library))
    page = Page(html)
    assert page.text.count(HOSTILE) >= 5
    assert not any(tag == "img" or any(name.startswith("on") for name in attrs) for tag, attrs in page.tags)
    harmless(page, scripts=1)
    rows = [row.partition("</tr>")[0] for row in html.split("<tr data-document")[1:]]
    assert [row.count("data-search") for row in rows] == [4, 5]  # title, id, run, text, and what was learned where that is more than the text
    assert rows[1].index("data-search>Alder Mill") < rows[1].index("The mill was built by Odo") < rows[1].index("Who built it? → Odo")
    assert {attrs["id"] for _, attrs in page.tags if "id" in attrs} >= {"library", "search", "tools", "found", "more"}


def test_a_thousand_documents() -> None:  # promises 1 and 3
    many = [Known(f"{n:016}", f"Title {n}", f"Text {n}.", (), "a", 1000, True, "run-1", 1, "2026-01-31T12:00:00+00:00", 9, None) for n in range(1000)]
    version = Change(1, "d", many[0].at, "consolidate", "run-1", 1000, tuple(one.title for one in many), (), ())
    page = Page(render(Overview(Path("library"), "", many, [version], Calibration(0.5, 120, None, None, 1), [])))
    assert sum("data-document" in attrs for _, attrs in page.tags) == 1000 and "1,000 documents are in force." in page.text
    assert "and 900 more" in page.text, "a version names its first hundred"
    assert "consolidated with 999 others" in page.text and "not measured for this library" in page.text
