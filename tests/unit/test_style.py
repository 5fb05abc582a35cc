"""The house stays as it is.

1. No function has more than 50 lines.
2. A letter that a name carries for a shape (`edits_PK`, `losses_S`) is explained in the docstring of its module, class or function.
3. No part is asked for by name or class outside its own file.
4. Nothing under loop/ inherits from another class of the package.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfedit import parts

SOURCE = Path(__file__).parents[2] / "src" / "selfedit"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST = 50
_SHAPED = re.compile(r"[a-z]_([A-Z]+)$|[a-z]_([A-Z])_")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_functions_are_short() -> None:  # promise 1
    found = [
        (str(file), f.name) for file in FILES for f in functions(ast.parse(file.read_text("utf-8"))) if (f.end_lineno or 0) - f.lineno >= LONGEST
    ]
    assert not found


@pytest.mark.parametrize("room", ["loop", "policy", "rewards", "study", "algorithms"])
def test_shapes_are_explained(room: str) -> None:  # promise 2
    for file in sorted((SOURCE / room).rglob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        said = " ".join(filter(None, [ast.get_docstring(tree), *(ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, ast.ClassDef))]))
        for function in functions(tree):
            words = set(re.findall(r"\b[A-Z]\b|\b[A-Z](?=[,)·])", f"{said} {ast.get_docstring(function) or ''}"))
            names = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
            letters = {letter for name in names for match in _SHAPED.finditer(name) for letter in "".join(filter(None, match.groups()))}
            assert letters <= words, f"{file.name}: {function.name}: {sorted(letters - words)}"


def test_no_part_is_asked_for_by_name() -> None:  # promise 3
    parts.load()
    classes = {entry.settings.__name__ for kind in parts.KINDS.values() for entry in kind} - {"Settings"}
    for file in FILES:
        text = file.read_text("utf-8")
        own = {name for name in classes if f"class {name}" in text}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                asked = {one.id for one in ast.walk(node.args[1]) if isinstance(one, ast.Name)}
                assert not asked & (classes - own), f"{file}:{node.lineno}"
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "part":
                compared = [one.value for one in node.comparators if isinstance(one, ast.Constant) and one.value]
                assert not compared, f"{file}:{node.lineno}"


def test_the_loop_inherits_nothing() -> None:  # promise 4
    for file in (SOURCE / "loop").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                assert {ast.unparse(base) for base in node.bases} <= {"Protocol"}, f"{file}: {node.name}"
