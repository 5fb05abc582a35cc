"""Reading documents: files and folders of text, Markdown and JSON Lines. Whatever cannot be read is an error of one line that says what to do."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import regex as re

from selfedit.config import Documents
from selfedit.errors import DataError
from selfedit.tasks.knowledge.files import MARKDOWN, clean, find_files, read_file
from selfedit.tasks.knowledge.markdown import cut_markdown
from selfedit.tasks.knowledge.passages import cut_text, size
from selfedit.tasks.knowledge.rows import read_row, rows, text_of
from selfedit.text import normalise
from selfedit.types import Demonstration, Passage, Question


def same(text: str) -> str:
    """What two passages share that say the same: equivalent characters (NFKC), spaces and capitals do not tell them apart."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def read_documents(paths: Sequence[Path], settings: Documents, say: Callable[[str], None] = lambda line: None) -> list[Passage]:
    """The passages of files and folders (recursive, sorted by name, hidden files skipped), each with an id from its file's name and its position.

    A text that stands there twice is one passage with the questions of both. What was left out is told to `say`, in lines. Raises DataError for
    what cannot be read.
    """
    files = find_files(paths, say)
    found: dict[str, Passage] = {}
    joined, twice = 0, list[str]()
    for file, name in zip(files, _names(files), strict=True):
        position = count(1)
        for passage in _cut(file, settings):
            key = same(passage.context)
            if key not in found:
                found[key] = replace(passage, id=f"{name}-{next(position):04d}")
            elif more := _new_questions(found[key], passage):
                joined += 1
                found[key] = replace(found[key], questions=(*found[key].questions, *more))
            else:
                twice.append(f"{passage.source}, as {found[key].source}")
            if len(found) > settings.max_passages:
                raise DataError(f"more than {settings.max_passages} passages (at {file}); give fewer documents or raise documents.max_passages")
    if joined:
        say(f"{joined} {'rows ask' if joined > 1 else 'row asks'} about a text that stands there before: their questions are joined")
    if twice:
        say(f"{len(twice)} {'passages stand there twice and are' if len(twice) > 1 else 'passage stands there twice and is'} read once ({twice[0]})")
    return list(found.values())


def _new_questions(known: Passage, other: Passage) -> list[Question]:
    """The questions of the other that are not among the known ones, in their words and answer."""
    asked = {(normalise(question.question), normalise(question.answer)) for question in known.questions}
    return [question for question in other.questions if (normalise(question.question), normalise(question.answer)) not in asked]


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


def _cut(file: Path, settings: Documents) -> Iterator[Passage]:
    """The passages of a file, which have no id yet."""
    text, name = read_file(file, settings.max_bytes), _title(file)
    if file.suffix.lower() == ".jsonl":
        yield from _cut_rows(file, text, name, settings)
        return
    cut = cut_markdown if file.suffix.lower() in MARKDOWN else cut_text
    pieces = cut(clean(text), name, settings.passage_words)
    if not pieces:
        raise DataError(f"{file} holds no text to learn (only headings, comments or markup); remove it or write something in it")
    for piece in pieces:
        yield Passage("", clean(piece.title).strip() or name, clean(piece.context), source=f"{file}, line {piece.line}")  # entities may be anything


def _title(file: Path) -> str:
    return re.sub(r"[\s_-]+", " ", file.stem).strip() or file.stem


def _cut_rows(file: Path, text: str, name: str, settings: Documents) -> Iterator[Passage]:
    """One document a line. With questions it stays whole; without, it is cut like a text."""
    for value, line in rows(text, file):
        where = f"{file}, line {line}"
        row = read_row(value, where, name)
        if row.questions or size(row.context) <= settings.passage_words * 1.25:
            yield Passage("", row.title, row.context, row.questions, where)
        else:
            for piece in cut_text(f"{row.title}\n\n{row.context}", row.title, settings.passage_words):
                yield Passage("", row.title, piece.context, source=where)


def read_demonstrations(paths: Sequence[Path], settings: Documents) -> list[Demonstration]:
    """Good self-edits from JSON Lines: title and context with a `completion` (and its `strategy`) or with questions. Raises DataError."""
    found: list[Demonstration] = []
    for path in paths:
        for value, line in rows(read_file(path, settings.max_bytes), path):
            where = f"{path}, line {line}"
            row = read_row(value, where, _title(path))
            completion, strategy = (text_of(value, key, where) if key in value else "" for key in ("completion", "strategy"))
            if not completion and not row.questions:
                raise DataError(f"{where}: neither a 'completion' to learn from nor 'questions' to make one of")
            found.append(Demonstration(Passage(f"shown-{len(found) + 1:04d}", row.title, row.context, row.questions, where), completion, strategy))
    return found
