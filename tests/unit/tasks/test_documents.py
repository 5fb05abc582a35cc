"""Reading documents: what is accepted, and one clear line for everything that is not."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from selfedit.config import Documents
from selfedit.errors import DataError
from selfedit.tasks.knowledge.split import read_documents
from selfedit.types import Question

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
        (tmp_path / name).write_text("Text.")
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
    passages = read_documents([jsonl(tmp_path / "d.jsonl", {"title": "T", "context": "It is one. " * 200})], SETTINGS)
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
        ("a.jsonl", b'{"title": "T", "context": "C", "questions": [{"question": "Q", "answers": []}]}', ["'answer' has to be text, got a list"]),
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
    refused(tmp_path, "1 files of other kinds")
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
