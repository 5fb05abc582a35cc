"""Reading documents: what is accepted, and one clear line for everything that is not.

1. Every kind of file that is not read, every link that leads nowhere and everything that is no file is said, and never waited for.
2. What is the same is read once: a file under two names, a text in two rows or two files; questions about one text are joined.
3. Rows of other people's data sets are read with all their questions and answers, or refused in a line that names the key.
4. Every text is in one spelling, without invisible characters; a word that a line's end divided is whole.
5. A passage knows the file and line where it begins.
"""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from selfedit.config import Documents
from selfedit.errors import DataError
from selfedit.tasks.knowledge import files
from selfedit.tasks.knowledge.documents import read_documents
from selfedit.types import Passage, Question

SETTINGS = Documents()


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def refused(path: Path, *parts: str, settings: Documents = SETTINGS) -> None:
    with pytest.raises(DataError) as error:
        read_documents([path], settings)
    message = str(error.value)
    assert "\n" not in message and str(path) in message
    for part in parts:
        assert part in message


def test_folder_is_read_sorted_and_hidden_files_are_skipped(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "sub/c.markdown", ".hidden.txt", ".git/x.txt", "sub/d.py", "Z.TXT"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"Some text of {name}.")
    passages = read_documents([tmp_path], SETTINGS)
    assert [passage.id for passage in passages] == ["Z-0001", "a-0001", "b-0001", "c-0001"]
    assert passages[3].context == "Some text of sub/c.markdown."
    assert read_documents([tmp_path, tmp_path / "b.txt"], SETTINGS) == passages  # named twice, read once


def test_files_of_the_same_name_have_their_own_ids(tmp_path: Path) -> None:
    for name in ("x/readme.md", "y/readme.md", "y/readme.txt", "notes of ann.txt", "notes-of-ann.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"Text of {name}.")
    ids = [passage.id for passage in read_documents([tmp_path], SETTINGS)]
    assert sorted(ids) == ["notes-of-ann-0001", "notes-of-ann~2-0001", "x-readme.md-0001", "y-readme.md-0001", "y-readme.txt-0001"]


def test_jsonl_with_questions_stays_whole(tmp_path: Path) -> None:
    questions = [
        {"question": "Who?", "answer": "Ann", "fact": 3, "id": "x"},
        {"question": "Where?", "answers": {"text": ["Isk", "isk"], "answer_start": [1]}},
    ]
    rows = [{"title": "T", "context": "word " * 500, "questions": questions, "extra": 1}, "", {"title": "U", "context": "Short."}]
    first, second = read_documents([jsonl(tmp_path / "d.jsonl", *rows)], SETTINGS)
    assert first.questions == (Question("Who?", "Ann", fact="3"), Question("Where?", "Isk"))
    assert len(first.context.split()) == 500
    assert (first.id, second.id, second.title, second.questions) == ("d-0001", "d-0002", "U", ())


def test_long_jsonl_context_without_questions_is_cut(tmp_path: Path) -> None:
    passages = read_documents(
        [jsonl(tmp_path / "d.jsonl", {"title": "T", "context": " ".join(f"It is {number}." for number in range(200))})], SETTINGS
    )
    assert len(passages) == 4 and {passage.title for passage in passages} == {"T"}


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfTitle\r\n\r\nFirst line.\r\n")
    passage = read_documents([tmp_path / "a.txt"], SETTINGS)[0]
    assert (passage.title, passage.context) == ("Title", "First line.")


@pytest.mark.parametrize(
    ("name", "data", "parts"),
    [
        ("a.txt", b"", ["is empty"]),
        ("a.txt", b" \n\t\n", ["is empty"]),
        ("a.md", b"<!-- nothing -->\n", ["holds no text"]),
        ("a.txt", b"abc\x00def", ["binary", "NUL at byte 3"]),
        ("a.pdf", b"%PDF-1.7\n\x00", ["PDF", "pdftotext"]),
        ("a.txt", b"\xff\xfea\x00", ["UTF-16", "UTF-8"]),
        ("a.txt", b"one\ncaf\xe9", ["0xe9", "position 7", "line 2", "UTF-8"]),
        ("a.json", b"{}", ["a.jsonl"]),
        ("a.jsonl", b'{"title": "T", "context": "C"}\n{"title": ', ["line 2", "not valid JSON"]),
        ("a.jsonl", b"[" * 100_000, ["line 1", "JSON"]),
        ("a.jsonl", b'["T"]', ["line 1", "expected an object", "got a list"]),
        ("a.jsonl", b'\n{"title": "T"}', ["line 2", "'context' is missing"]),
        ("a.jsonl", b'{"title": 3, "context": "C"}', ["line 1", "'title' has to be text, got a number"]),
        ("a.jsonl", b'{"title": "T", "context": " "}', ["line 1", "'context' is empty"]),
        ("a.jsonl", b'{"title": "T", "context": "\\ud800"}', ["line 1", "'context'", "broken character"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "questions": {}}', ["'questions' has to be a list, got an object"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "questions": ["x"]}', ["line 1, question 1", "expected an object"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "questions": [{"question": "Q"}]}', ["question 1", "'answer' is missing"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "questions": [{"question": "Q", "answers": [7]}]}', ["'answers' has to be text, got a number"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "question": "Q"}', ["line 1", "'answer' is missing"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "question_list": ["Q"]}', ["line 1", "'question_list' is not read", "'questions'"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "qa": [["Q", "A"]]}', ["line 1", "'qa' is not read", "'questions'"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "qas": {"q": "a"}}', ["line 1", "'qas' has to be a list, got an object"]),
        ("a.jsonl", b'{"title": "T", "paragraphs": []}', ["line 1", "'context' is missing (there are: title, paragraphs)"]),
        ("a.csv", b"name,since\nOda,1998\n", ["is CSV", ".jsonl", "write each row as a sentence"]),
        ("a.html", b"<p>Text.", ["is HTML", "pandoc"]),
        ("a.HTM", b"<p>Text.", ["is HTM", "pandoc"]),
        ("a.docx", b"PK\x03\x04", ["is DOCX", "pandoc"]),
        ("a.log", b"Text.", ["of another kind", ".txt", "give it the ending .txt"]),
        ("a.txt", b"\n<!DOCTYPE html><p>Text.", ["is HTML", "pandoc"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "questions": [{"question": "Q", "answer": 7}]}', ["'answer' has to be text, got a number"]),
        ("a.jsonl", b'{"title": "T", "context": "C", "questions": [{"question": "Q", "answer": "A", "fact": 1.5}]}', ["'fact'"]),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, name: str, data: bytes, parts: list[str]) -> None:
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, *parts)


def test_missing_and_unfit_paths(tmp_path: Path) -> None:
    refused(tmp_path / "none.txt", "does not exist")
    refused(tmp_path, "no documents", ".jsonl")
    (tmp_path / "x.py").write_text("x")
    refused(tmp_path, "(1 file of another kind (.py))")
    os.mkfifo(tmp_path / "pipe.txt")
    refused(tmp_path / "pipe.txt", "neither a file nor a folder")


def test_a_huge_file_is_refused_unopened(tmp_path: Path) -> None:
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(200 * 2**20)  # sparse
    huge.chmod(0)
    refused(huge, "209,715,200 bytes", "documents.max_bytes")


def test_too_many_passages(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", *({"title": "T", "context": f"Text {number}."} for number in range(4)))
    refused(path, "more than 3 passages", "documents.max_passages", settings=Documents(max_passages=3))
    assert len(read_documents([path], Documents(max_passages=4))) == 4


def test_an_answer_that_nobody_knows_is_null(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "T", "context": "C", "questions": [{"question": "Q?", "answer": null}]}')
    [passage] = read_documents([tmp_path / "a.jsonl"], SETTINGS)
    assert passage.questions == (Question("Q?", ""),)


# ---------------------------------------------------------------- 1. files


def said(*paths: Path) -> tuple[list[Passage], list[str]]:
    lines: list[str] = []
    return read_documents(paths, SETTINGS, lines.append), lines


def test_what_a_folder_has_beside_is_said_in_a_line(tmp_path: Path) -> None:
    for name in ("a.txt", "b.pdf", "c.pdf", "d.docx", "README", ".hidden.pdf", "in/e.rst"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("The weir was raised.")
    passages, lines = said(tmp_path)
    assert len(passages) == 1
    assert lines == [f"{tmp_path}: left out 5 files of other kinds (.pdf 2, no ending, .docx, .rst)"]
    assert said(tmp_path / "a.txt")[1] == []


def test_links_are_followed_once_and_what_leads_nowhere_is_said(tmp_path: Path) -> None:
    docs, other = tmp_path / "docs", tmp_path / "other"
    docs.mkdir()
    other.mkdir()
    (docs / "weir.txt").write_text("The weir was raised.")
    (other / "gate.txt").write_text("The gate is of oak.")
    (docs / "again.txt").symlink_to("weir.txt")
    (docs / "gate.txt").symlink_to(other / "gate.txt")
    (docs / "gone.txt").symlink_to("nothing.txt")
    (docs / "ring.txt").symlink_to("ring.txt")
    (docs / "loop").symlink_to("..")
    passages, (left_out, alias) = said(docs)
    assert [passage.context for passage in passages] == ["The weir was raised.", "The gate is of oak."]
    assert alias == f"{docs / 'weir.txt'} is the same file as {docs / 'again.txt'}; it is read once"
    for part in (
        f"{docs / 'loop'} is a link to a folder",
        f"{docs / 'gone.txt'} is a broken link (to nothing.txt)",
        f"{docs / 'ring.txt'} is a link that",
    ):
        assert part in left_out
    refused(docs / "gone.txt", "is a broken link")
    refused(docs / "ring.txt", "is a link that leads to itself")


def test_a_file_under_two_spellings_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weir.txt").write_text("The weir was raised.")
    monkeypatch.chdir(tmp_path)
    os.link("weir.txt", "hard.txt")
    passages, lines = said(Path("weir.txt"), tmp_path / "weir.txt", Path("hard.txt"))
    assert [passage.id for passage in passages] == ["weir-0001"] and len(lines) == 2


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The weir was raised.")
    os.mkfifo(tmp_path / "b.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c.md"))
        (tmp_path / "d.jsonl").symlink_to("/dev/zero")
        passages, lines = said(tmp_path)
    assert len(passages) == 1 and lines[0].count("is not a regular file") == 3
    refused(Path("/dev/zero"), "neither a file nor a folder")


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("The weir was raised.")
    regular = (tmp_path / "a.txt").stat()
    os.mkfifo(tmp_path / "b.txt")
    monkeypatch.setattr(files, "_status", lambda path: regular)
    with pytest.raises(DataError, match=r"b\.txt is not a regular file"):
        files.read_file(tmp_path / "b.txt", 1000)


# ---------------------------------------------------------------- 2. what is the same


def test_the_same_row_twice_is_one_passage(tmp_path: Path) -> None:
    row = {"title": "Weir", "context": "The weir was raised in 1847.", "questions": [{"question": "When?", "answer": "1847"}]}
    again = {**row, "context": " the WEIR was\nraised in １８４７. "}
    passages, lines = said(jsonl(tmp_path / "d.jsonl", row, {"title": "Gate", "context": "The gate is of oak."}, row, again))
    assert [passage.id for passage in passages] == ["d-0001", "d-0002"]
    assert lines == [f"2 passages stand there twice and are read once ({tmp_path / 'd.jsonl'}, line 3, as {tmp_path / 'd.jsonl'}, line 1)"]


def test_copies_of_a_file_are_read_once(tmp_path: Path) -> None:
    for name in ("a.txt", "b.md"):
        (tmp_path / name).write_text("The weir was raised.")
    passages, lines = said(tmp_path)
    assert [passage.id for passage in passages] == ["a-0001"] and "b.md, line 1, as" in lines[0]


def test_rows_about_one_text_are_joined_with_all_their_questions(tmp_path: Path) -> None:
    text = "Oda Finch raised the weir in 1847."
    asked = [("Who raised it?", "Oda Finch"), ("When was it raised?", "1847"), ("Who raised it?", "Oda Finch")]
    rows = [
        {"id": f"q{n}", "title": "Weir", "context": text, "question": question, "answers": {"text": [answer], "answer_start": [0]}}
        for n, (question, answer) in enumerate(asked)
    ]
    ([passage], lines) = said(jsonl(tmp_path / "d.jsonl", *rows))
    assert passage.questions == (Question("Who raised it?", "Oda Finch"), Question("When was it raised?", "1847"))
    assert lines[0] == "1 row asks about a text that stands there before: their questions are joined" and len(lines) == 2


# ---------------------------------------------------------------- 3. rows of others


def row_of(tmp_path: Path, **row: Any) -> Passage:
    [passage] = read_documents([jsonl(tmp_path / "old mill.jsonl", {"context": "C", **row})], SETTINGS)
    return passage


@pytest.mark.parametrize("key", ["questions", "qas", "qa_pairs"])
def test_lists_of_questions_under_their_other_names(tmp_path: Path, key: str) -> None:
    assert row_of(tmp_path, **{key: [{"question": "Q?", "answer": "A"}]}).questions == (Question("Q?", "A"),)


@pytest.mark.parametrize(
    ("entry", "answer", "aliases"),
    [
        ({"answer": "Ann"}, "Ann", ()),
        ({"answers": ["Ann", "ann.", "Ann Lee", ""]}, "Ann", ("Ann Lee",)),
        ({"answers": [{"text": "Ann", "answer_start": 3}, {"text": "Ann Lee"}]}, "Ann", ("Ann Lee",)),
        ({"answers": {"text": ["Ann", "Ann Lee"], "answer_start": [3, 4]}}, "Ann", ("Ann Lee",)),
        ({"answer": "Ann", "answers": ["Ann Lee", "Ann"], "aliases": ["A. L."]}, "Ann", ("Ann Lee", "A. L.")),
        ({"answer": "+", "aliases": ["-", "plus"]}, "+", ("-", "plus")),
        ({"answer": None}, "", ()),
        ({"answer": ""}, "", ()),
        ({"answers": []}, "", ()),
        ({"answers": {"text": [], "answer_start": []}, "is_impossible": True}, "", ()),
        ({"answers": [], "is_impossible": True, "plausible_answers": [{"text": "Bob"}]}, "", ()),
        ({"answer": "Bob", "is_impossible": True}, "", ()),
        ({"answers": ["Ann"], "is_impossible": False}, "Ann", ()),
    ],
)
def test_answers_in_every_form(tmp_path: Path, entry: dict[str, Any], answer: str, aliases: tuple[str, ...]) -> None:
    expected = (Question("Q?", answer, aliases=aliases),)
    assert row_of(tmp_path, questions=[{"question": "Q?", **entry}]).questions == expected
    assert row_of(tmp_path, question="Q?", **entry).questions == expected


def test_a_row_without_a_title_has_its_id_or_its_files_name(tmp_path: Path) -> None:
    assert row_of(tmp_path, faq_url="https://e.org", questions_asked=7).questions == ()
    assert row_of(tmp_path).title == row_of(tmp_path, title=None).title == row_of(tmp_path, id=7).title == "old mill"
    assert row_of(tmp_path, id="Corve Mill").title == "Corve Mill"
    assert row_of(tmp_path, id="q-7", question="Q?", answer="A").title == "old mill"  # the question's id


# ---------------------------------------------------------------- 4. characters


def test_text_is_in_one_spelling_without_what_is_not_seen(tmp_path: Path) -> None:
    seen = "Café 12 500 office naïve"
    raw = "\ufeffCafe\u0301 12\u202f500 of\ufb01ce\u200b na\u00adi\u0308ve\x1b[0m\x07\u200e"
    (tmp_path / "a.txt").write_text(f"{raw}\u2028\ufeff{raw}\n\n\ufeff{raw}", encoding="utf-8")
    jsonl(tmp_path / "b.jsonl", {"title": raw, "context": f"B {raw}", "questions": [{"question": raw, "answer": raw}]})
    text, row = read_documents([tmp_path], SETTINGS)
    assert text.context == f"{seen}\n{seen}\n\n{seen}"
    assert (row.title, row.context, row.questions) == (seen, f"B {seen}", (Question(seen, seen),))


def test_joiners_that_scripts_need_stay(tmp_path: Path) -> None:
    for text in ("می\u200cخواهم", "क्\u200dष"):
        (tmp_path / "a.txt").write_text(text, encoding="utf-8")
        assert read_documents([tmp_path / "a.txt"], SETTINGS)[0].context == text


def test_a_byte_order_mark_between_rows_is_dropped(tmp_path: Path) -> None:
    rows = [json.dumps({"title": "T", "context": f"Text {number}."}) for number in range(2)]
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n\ufeff".join(rows), encoding="utf-8")
    assert len(read_documents([tmp_path / "a.jsonl"], SETTINGS)) == 2


# ---------------------------------------------------------------- 5. where a passage is from


def test_a_passage_knows_its_file_and_line(tmp_path: Path) -> None:
    long = " ".join(f"word{number}" for number in range(140))
    (tmp_path / "a.txt").write_text(f"Title\n\n{long}.\n\n\nSecond {long}.")
    (tmp_path / "b.md").write_text(f"---\ntitle: T\n---\n# T\n\n{long} 1.\n\n## Next\n\nSecond {long} 2.")
    jsonl(tmp_path / "c.jsonl", "", {"title": "T", "context": "C"})
    lines = [passage.source.removeprefix(f"{tmp_path}/") for passage in read_documents([tmp_path], SETTINGS)]
    assert lines == ["a.txt, line 3", "a.txt, line 6", "b.md, line 6", "b.md, line 10", "c.jsonl, line 2"]
    assert Passage("p", "T", "C", source="x") == Passage("p", "T", "C")
