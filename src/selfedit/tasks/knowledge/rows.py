"""Rows of JSON Lines: passages with questions, in this project's form and in SQuAD's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex as re

from selfedit.errors import DataError
from selfedit.tasks.knowledge.files import clean
from selfedit.text import normalise
from selfedit.types import Question

LISTS = ("questions", "qas", "qa_pairs")
"""The keys under which a row may have its questions."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a row says."""

    title: str
    context: str
    questions: tuple[Question, ...]


def rows(text: str, file: Path) -> Iterator[tuple[Any, int]]:
    """Each line's value, and the line's number, from 1. Raises DataError."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line := line.strip("\ufeff \t"):
            yield _parse(line, f"{file}, line {number}"), number


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not valid JSON: {error.msg} (column {error.colno}); each line has to be one whole object") from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{where} is not usable JSON: {error}") from error


def read_row(row: Any, where: str, name: str = "") -> Row:
    """A `{title, context, questions: [{question, answer, fact?}]}` object, or a row with one `question` and its `answer` (or `answers`) beside.

    Without a title, the row's id or else `name` is the title. Several answers are the answer and its aliases. Nobody knows the answer where it is
    null or empty, or where the question `is_impossible`. Other keys are ignored. Raises DataError naming `where` and the key.
    """
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with title and context, got {_what(row)}")
    entries: list[Any] = []
    for key in LISTS:
        if not isinstance(row.get(key), list | None):
            raise DataError(f"{where}: '{key}' has to be a list, got {_what(row[key])}")
        entries += row.get(key) or []
    questions = [_question(entry, f"{where}, question {number}") for number, entry in enumerate(entries, start=1)]
    questions += [_question(row, where)] if row.get("question") is not None else []
    title, context = _title(row, where, name), text_of(row, "context", where)
    if not questions and (unread := [key for key, value in row.items() if value and key not in LISTS and _asks(key, value)]):
        raise DataError(f"{where}: '{unread[0]}' is not read; put the questions into 'questions', each with 'question' and 'answer'")
    return Row(title, context, tuple(questions))


def _asks(key: str, value: Any) -> bool:
    """Whether the value is likely to hold questions or answers, under a key that is not known."""
    if isinstance(value, list | dict):
        return re.search(r"(?i)question|answer|(?:^|_)(?:qas?|faqs?)(?:_|$)", key) is not None
    return isinstance(value, str) and re.fullmatch(r"(?i)(?:question|answer)s?(?:_?text)?", key) is not None


def _title(row: dict[str, Any], where: str, name: str) -> str:
    if row.get("title") not in (None, ""):
        return text_of(row, "title", where)
    if isinstance(row.get("id"), str) and "question" not in row and row["id"].strip():  # of a row with one question, it is the question's
        return text_of(row, "id", where)
    return name or text_of(row, "title", where)


def _question(entry: Any, where: str) -> Question:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected an object with question and answer, got {_what(entry)}")
    fact = entry.get("fact")
    if fact is not None and (isinstance(fact, bool) or not isinstance(fact, int | str)):
        raise DataError(f"{where}: 'fact' has to be a number or a text, got {_what(fact)}")
    question, answers = text_of(entry, "question", where), _answers(entry, where)
    return Question(question, answers[0], fact=None if fact is None else str(fact), aliases=tuple(answers[1:]))


def _answers(entry: dict[str, Any], where: str) -> list[str]:
    """The gold answers, each once; one empty answer where nobody knows it."""
    keys = [key for key in ("answer", "answers", "aliases") if key in entry]
    if entry.get("is_impossible") is True:
        return [""]
    if not keys or keys == ["aliases"]:
        raise DataError(f"{where}: 'answer' is missing")
    found: dict[str, str] = {}
    for key in keys:
        for given in _texts(entry[key], key, where):
            if given.strip():
                text = text_of({key: given}, key, where)
                found.setdefault(normalise(text) or text, text)
    return list(found.values()) or [""]


def _texts(value: Any, key: str, where: str) -> list[str]:
    """A text, a list of texts, a list of `{text}` objects, or SQuAD's `{text: [...]}`."""
    if isinstance(value, dict) and "text" in value:
        value = value["text"]
    if isinstance(value, str | None):
        return [value or ""]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one, key, where)]
    raise DataError(f"{where}: '{key}' has to be text, got {_what(value)}")


def text_of(row: dict[str, Any], key: str, where: str) -> str:
    """The text under a key, cleaned. Raises DataError where there is none."""
    if key not in row:
        others = f" (there are: {', '.join(row)})" if row else ""
        raise DataError(f"{where}: '{key}' is missing{others}")
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f"{where}: '{key}' has to be text, got {_what(value)}")
    if re.search(r"[\0\ud800-\udfff]", value):
        raise DataError(f"{where}: '{key}' holds a broken character (NUL or half of a surrogate pair)")
    if text := clean(value).strip():
        return text
    raise DataError(f"{where}: '{key}' is empty")


def _what(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
