"""A recipe as a TOML file that explains itself: each key with its default and the words that stand beside it in the code."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from selfedit.config import Recipe


def recipe_toml(recipe: Recipe | None = None) -> str:
    """Every setting. What it says, `load_recipe` reads back as the same recipe."""
    return "\n".join([*_comment(inspect.getdoc(Recipe) or ""), "", *_table(recipe or Recipe(), "")]) + "\n"


def _table(part: Any, name: str) -> Iterator[str]:
    """The plain keys of a part, then its tables."""
    values = _values(part)
    words = words_of(type(part))
    for key, value in values.items():
        if not _is_table(value):
            yield from _comment(words.get(key, ""))
            yield f"{key} = {_value(value)}"
    for key, value in values.items():
        if _is_table(value):
            below = f"{name}.{key}" if name else key
            yield ""
            yield from _comment(words.get(key) or _doc(type(value)))
            yield f"[{below}]"
            yield from _table(value, below)


def _values(part: Any) -> dict[str, Any]:
    names = type(part).model_fields if isinstance(part, BaseModel) else part.__dataclass_fields__
    return {name: getattr(part, name) for name in names if not name.startswith("__")}


def _is_table(value: Any) -> bool:
    return isinstance(value, BaseModel) or is_dataclass(value)


def _value(value: Any) -> str:
    """JSON's numbers, texts and lists are TOML's too."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}".rstrip() for line in text.splitlines())


def _doc(kind: type) -> str:
    return inspect.getdoc(kind) or ""


def words_of(kind: type) -> dict[str, str]:
    """The strings below the fields of a class, and of those that it is made from."""
    before, *_ = kind.__bases__
    found = {} if before in (object, BaseModel) else words_of(before)
    [body] = [node.body for node in ast.parse(textwrap.dedent(inspect.getsource(kind))).body if isinstance(node, ast.ClassDef)]
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
            found[node.target.id] = inspect.cleandoc(ast.literal_eval(below.value))
    return found
