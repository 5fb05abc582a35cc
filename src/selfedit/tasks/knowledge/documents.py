"""Reading documents: files and folders of text, Markdown and JSON Lines. Whatever cannot be read is an error of one line that says what to do."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from selfedit.config import Documents
from selfedit.errors import DataError
from selfedit.tasks.knowledge.markdown import cut_markdown, cut_text, size
from selfedit.types import Demonstration, Passage, Question

MARKDOWN = (".md", ".markdown")
SUFFIXES = (".txt", *MARKDOWN, ".jsonl")


def read_documents(paths: Sequence[Path], settings: Documents) -> list[Passage]:
    """The passages of files and folders (recursive, sorted by name, hidden files skipped), each with an id from its file's name and its position.

    Raises DataError for what cannot be read.
    """
    files = list(dict.fromkeys(file for path in paths for file in _files(path)))
    passages: list[Passage] = []
    for file, name in zip(files, _names(files), strict=True):
        text = _read(file, settings.max_bytes)
        for position, (title, context, questions) in enumerate(_cut(file, text, settings), start=1):
            passages.append(Passage(f"{name}-{position:04d}", title, context, questions))
            if len(passages) > settings.max_passages:
                raise DataError(f"more than {settings.max_passages} passages (at {file}); give fewer documents or raise documents.max_passages")
    return passages


# ---------------------------------------------------------------- finding


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise DataError(_missing(path))
    if not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder")
    found, others = [], 0
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        visible = [name for name in sorted(names) if not name.startswith(".")]
        fitting = [Path(folder, name) for name in visible if name.lower().endswith(SUFFIXES)]
        found += fitting
        others += len(visible) - len(fitting)
    if not found:
        aside = f" ({others} files of other kinds)" if others else ""
        raise DataError(f"no documents in {path}{aside}; selfedit reads {', '.join(SUFFIXES)}")
    return sorted(found)


def _missing(path: Path) -> str:
    return f"{path} does not exist; check the path" + ("" if path.is_absolute() else ", which counts from the current folder")


def _names(files: list[Path]) -> list[str]:
    """A unique name for each file: its stem, or where several share one, its path below their common folder."""
    stems = Counter(file.stem for file in files)
    root = Path(os.path.commonpath([file.absolute().parent for file in files])) if files else Path()
    names: dict[str, None] = {}
    for file in files:
        full = file.stem if stems[file.stem] == 1 else str(file.absolute().relative_to(root))
        name = re.sub(r"[^\w.]+", "-", full).strip("-.") or "document"
        names[next(free for n in count(1) if (free := f"{name}~{n}" if n > 1 else name) not in names)] = None
    return list(names)


# ---------------------------------------------------------------- reading


def _read(file: Path, max_bytes: int) -> str:
    """The text of a file. Its size is looked at first: nothing large is ever opened."""
    try:
        length = file.stat().st_size
        if length > max_bytes:
            raise DataError(f"{file} has {length:,} bytes, more than {max_bytes:,}; split it or raise documents.max_bytes")
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(_missing(file)) from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    text = _decode(data, file).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise DataError(f"{file} is empty; remove it or write something in it")
    return text


def _decode(data: bytes, file: Path) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{file} is UTF-16; save it as UTF-8")
    if data.startswith(b"%PDF"):
        raise DataError(f"{file} is a PDF; convert it to text first, for example with pdftotext")
    if b"\0" in data:
        raise DataError(f"{file} is binary (NUL at byte {data.index(0)}), not text; remove it or convert it to text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at, line = error.start, data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file} is not UTF-8: byte 0x{data[at]:02x} at position {at} (line {line}); save it as UTF-8") from error


# ---------------------------------------------------------------- understanding

Cut = tuple[str, str, tuple[Question, ...]]


def _cut(file: Path, text: str, settings: Documents) -> Iterator[Cut]:
    """(title, context, questions) of each passage."""
    suffix = file.suffix.lower()
    if suffix == ".json":
        raise DataError(f"{file} is JSON; write one object a line and name it {file.stem}.jsonl")
    if suffix == ".jsonl":
        yield from _cut_jsonl(file, text, settings)
        return
    name = re.sub(r"[\s_-]+", " ", file.stem).strip() or file.stem
    cut = cut_markdown if suffix in MARKDOWN else cut_text
    pieces = cut(text, name, settings.passage_words)
    if not pieces:
        raise DataError(f"{file} holds no text to learn (only headings, comments or markup); remove it or write something in it")
    for title, context in pieces:
        yield title, context, ()


def read_demonstrations(paths: Sequence[Path], settings: Documents) -> list[Demonstration]:
    """Good self-edits from JSON Lines: title and context with a `completion` (and its `strategy`) or with questions. Raises DataError."""
    found: list[Demonstration] = []
    for path in paths:
        for row, where in _rows(path, _read(path, settings.max_bytes)):
            title, context, questions = read_row(row, where)
            completion, strategy = (_text(row, key, where) if key in row else "" for key in ("completion", "strategy"))
            if not completion and not questions:
                raise DataError(f"{where}: neither a 'completion' to learn from nor 'questions' to make one of")
            passage = Passage(f"shown-{len(found) + 1:04d}", title, context, questions)
            found.append(Demonstration(passage, completion, strategy))
    return found


def _rows(file: Path, text: str) -> Iterator[tuple[Any, str]]:
    """Each line's value, and where it stands."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{file}, line {number}"
            yield _parse(line, where), where


def _cut_jsonl(file: Path, text: str, settings: Documents) -> Iterator[Cut]:
    """One document a line. With questions it stays whole; without, it is cut like a text."""
    for row, where in _rows(file, text):
        title, context, questions = read_row(row, where)
        if questions or size(context) <= settings.passage_words * 1.25:
            yield title, context, questions
        else:
            for _, piece in cut_text(f"{title}\n\n{context}", title, settings.passage_words):
                yield title, piece, ()


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not valid JSON: {error.msg} (column {error.colno}); each line has to be one whole object") from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where} is not usable JSON: {error}") from error


def read_row(row: Any, where: str) -> Cut:
    """A `{title, context, questions: [{question, answer, fact?}]}` object; other keys are ignored, an answer may be null where nobody knows it.

    Raises DataError naming `where` and the key.
    """
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with title and context, got {_what(row)}")
    questions = row.get("questions")
    if questions is not None and not isinstance(questions, list):
        raise DataError(f"{where}: 'questions' has to be a list, got {_what(questions)}")
    read = tuple(_question(entry, f"{where}, question {number}") for number, entry in enumerate(questions or [], start=1))
    return _text(row, "title", where), _text(row, "context", where), read


def _question(entry: Any, where: str) -> Question:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected an object with question and answer, got {_what(entry)}")
    fact = entry.get("fact")
    if fact is not None and (isinstance(fact, bool) or not isinstance(fact, int | str)):
        raise DataError(f"{where}: 'fact' has to be a number or a text, got {_what(fact)}")
    if "answer" not in entry and "answers" in entry:
        entry = {**entry, "answer": _first(entry["answers"])}
    answer = "" if "answer" in entry and entry["answer"] is None else _text(entry, "answer", where)  # null: nobody knows it
    return Question(_text(entry, "question", where), answer, fact=None if fact is None else str(fact))


def _first(answers: Any) -> Any:
    """The first of several answers: a list of texts, of `{text}` objects, or SQuAD's `{text: [...]}`."""
    if isinstance(answers, dict):
        answers = answers.get("text")
    first = answers[0] if isinstance(answers, list) and answers else answers
    return first.get("text") if isinstance(first, dict) else first


def _text(row: dict[str, Any], key: str, where: str) -> str:
    if key not in row:
        raise DataError(f"{where}: '{key}' is missing")
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f"{where}: '{key}' has to be text, got {_what(value)}")
    if not value.strip():
        raise DataError(f"{where}: '{key}' is empty")
    if re.search(r"[\0\ud800-\udfff]", value):
        raise DataError(f"{where}: '{key}' holds a broken character (NUL or half of a surrogate pair)")
    return value.strip()


def _what(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
