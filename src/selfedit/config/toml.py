"""A recipe as a TOML file that explains itself: each key with its default and the words that stand beside it in the code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import docstring_parser
import tomlkit
from pydantic import BaseModel

from selfedit.config.recipe import Recipe
from selfedit.parts import Settings


def recipe_toml(recipe: Recipe | None = None) -> str:
    """Every setting. What it says, `load_recipe` reads back as the same recipe."""
    document = tomlkit.document()
    _comment(document, inspect.getdoc(Recipe) or "")
    document.add(tomlkit.nl())
    _fill(document, recipe or Recipe())
    return tomlkit.dumps(document)


def _fill(table: Any, part: Any) -> None:
    """The plain keys of a section, then its own sections; what is not set is left out."""
    words, values = words_of(type(part)), _values(part)
    for key in sorted((key for key in values if not _is_section(values[key])), key=lambda key: key != "type"):
        if values[key] is not None:
            _comment(table, words.get(key, ""))
            table.add(key, _plain(values[key]))
    for key, value in values.items():
        if _is_section(value) and (not isinstance(value, Mapping) or value):
            named = isinstance(value, Mapping)  # parts by their names: only they have headers
            section = tomlkit.table(is_super_table=named)
            _fill(section, value)
            table.add(tomlkit.nl())
            _comment(table, "" if named else words.get(key) or inspect.getdoc(type(value)) or "")
            table.add(key, section)
            section.trivia.indent = ""  # no blank line between the words and the section


def _values(part: Any) -> Mapping[str, Any]:
    if isinstance(part, Mapping):
        return part
    names = type(part).model_fields if isinstance(part, BaseModel) else part.__dataclass_fields__
    return {name: getattr(part, name) for name in names if not name.startswith("__")}


def _is_section(value: Any) -> bool:
    return isinstance(value, BaseModel | Mapping) or is_dataclass(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _comment(table: Any, text: str) -> None:
    for line in text.splitlines():
        table.add(tomlkit.comment(line))


def words_of(kind: type) -> dict[str, str]:
    """The strings below the fields of a class, and of those that it is made from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, Settings) and base is not Settings:
            found |= {name: inspect.cleandoc(field.description) for name, field in base.model_fields.items() if field.description}
        elif is_dataclass(base):
            found |= {one.arg_name: inspect.cleandoc(one.description or "") for one in docstring_parser.parse_from_object(base).params}
    return found
