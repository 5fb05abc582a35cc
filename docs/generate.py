"""Writes docs/reference.md from the code: `make docs`. With --check it only says whether the page is up to date, and fails where it is not."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import io
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from selfedit import config, errors, models, parts
from selfedit.config.toml import words_of

PAGE = Path(__file__).with_name("reference.md")

HEAD = """# Reference

Written from the code by `make docs`; `make check` fails when it is out of date.
[Commands](#commands) · [recipe](#recipe) · [parts](#parts): [strategies](#strategy), [rewards](#reward), [algorithms](#algorithm),
[inner loops](#inner), [prefilters](#prefilter), [guards](#guard), [rows of a table](#baseline) ·
[packaged models](#packaged-models) · [exit codes](#exit-codes)
"""


def page() -> str:
    sections = (HEAD, commands(), recipe(), all_parts(), packaged_models(), exit_codes())
    return "\n".join(section.strip() + "\n" for section in sections)


# ------------------------------------------------------------ commands


def commands() -> str:
    from selfedit.cli import COMMANDS

    return "\n".join(["## Commands", "", "```text", help_of("--help"), "```", "", *(command(name) for name in COMMANDS)])


def command(name: str) -> str:
    """A command as a section: its words, its arguments as a table. Flags that are keys of the recipe are left to the recipe."""
    import tyro

    from selfedit.cli import COMMANDS
    from selfedit.cli.flags import with_flags
    from selfedit.cli.parse import CONFIG

    module, kind = COMMANDS[name]
    made = with_flags(getattr(import_module(f"selfedit.cli.{module}"), kind), [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tyro has nothing else yet that lists the arguments of a record
        parser = tyro.extras.get_parser(made, prog=f"selfedit {name}", config=CONFIG)
    lines = [f"### selfedit {name}", "", "```text", inspect.getdoc(made) or "", "```", "", "| argument | meaning |", "|---|---|"]
    keys = config.Recipe.model_fields if hasattr(made, "flags") else {}
    own = [action for action in parser._actions if action.dest != "help" and flag_of(action).split(".")[0] not in keys]
    lines += [
        f"| `{argument(action)}` | {one_line(re.sub(chr(27) + '.*?m', '', action.help or '')).replace(' (default: False)', '')} |" for action in own
    ]
    if hasattr(made, "flags"):
        lines += ["", "Every key of the [recipe](#recipe) is a flag too: `--inner.lora.rank 8`, `--propose.strategies span-qa key-facts`."]
    return "\n".join([*lines, ""])


def flag_of(action: argparse.Action) -> str:
    """The recipe key that a flag would be of."""
    flag = next((one for one in action.option_strings if one.startswith("--")), "")
    return flag.removeprefix("--").replace("-", "_")


def argument(action: argparse.Action) -> str:
    """How an argument is written."""
    shown = action.metavar if isinstance(action.metavar, str) else action.dest
    flags = ", ".join(action.option_strings)
    return f"{flags} {'' if flags and action.nargs == 0 else shown}".strip().replace("|", "\\|")


def meaning(action: argparse.Action) -> str:
    """Its help, without colour."""
    return one_line(re.sub(r"\x1b\[[\d;]*m", "", action.help or "")).replace(" (default: False)", "")


def help_of(*args: str) -> str:
    """What the command line prints, without colour."""
    from selfedit.cli import main

    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # tyro asks for the encoding and draws accordingly
    os.environ["COLUMNS"] = "80"  # wider, and tyro sets panels side by side
    with redirect_stdout(said):
        main(args)
    said.seek(0)
    return re.sub(r"\x1b\[[\d;]*m", "", said.read()).rstrip()


# ------------------------------------------------------------ recipe

RECIPE = """## Recipe

A TOML file. Every key has a default, an unknown key is an error that names the nearest valid one. A section with a `type` is one of several
variants; its other keys depend on it.
"""


def recipe() -> str:
    rows = list(keys(config.Recipe))
    lines = [RECIPE, "| key | value | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{key}` | {value} | {default} | {meaning} |" for key, value, default, meaning in rows]
    return "\n".join(lines)


def keys(model: type, default: Any = None, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(key, kind of value, default, meaning) of every key below a model or record; those of variants say whose they are."""
    meanings = words_of(model)
    default = model() if default is None else default
    for name, annotation, metadata in fields(model):
        value, key = getattr(default, name), prefix + name
        if name == "type" or value is None:
            continue
        if model is config.Recipe and name in config.CHOSEN:
            entries = list(parts.KINDS[config.CHOSEN[name][0]])
            meaning = f"{one_line(meanings.get(name, ''))} See [{entries[0].kind}](#parts)."
            yield f"{key}.type", " or ".join(f'`"{e.name}"`' for e in entries), f'`"{value.part}"`', meaning
            whose: dict[tuple[str, str, str, str], list[str]] = {}
            for entry in entries:
                for row in keys(entry.settings, None, f"{key}."):
                    whose.setdefault(row, []).append(entry.name)
            for (below, of, standard, meaning), names in whose.items():
                yield below, of, standard, f"({', '.join(names)}) {meaning}".strip() if len(entries) > 1 else meaning
        elif model is config.Recipe and name in config.TABLES:
            for entry in parts.KINDS[config.TABLES[name]]:
                yield from keys(entry.settings, None, f"{key}.{entry.name}.")
        elif is_record(annotation):
            yield f"{key}", "section", "", one_line(meanings.get(name, "")) or summary(annotation)
            yield from keys(annotation, value, f"{key}.")
        else:
            yield key, words(annotation, metadata), f"`{json.dumps(value, default=str, ensure_ascii=False)}`", one_line(meanings.get(name, ""))


def fields(model: type) -> list[tuple[str, Any, list[Any]]]:
    if issubclass(model, BaseModel):
        return [(name, field.annotation, field.metadata) for name, field in model.model_fields.items()]
    hints = get_type_hints(model, include_extras=True)
    split = {name: get_args(hint) if get_origin(hint) is Annotated else (hint,) for name, hint in hints.items()}
    return [(field.name, split[field.name][0], list(split[field.name][1:])) for field in dataclasses.fields(model)]


def is_record(annotation: Any) -> bool:
    return inspect.isclass(annotation) and (dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel))


def words(annotation: Any, metadata: list[Any]) -> str:
    """The kind of value, in words."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f'`"{choice}"`' for choice in args)
    if origin is tuple:
        one, *limits = get_args(args[0]) if get_origin(args[0]) is Annotated else (args[0],)
        if get_origin(one) is Literal:
            return f"list of {words(one, [])}"
        of = {str: "texts", Path: "paths", int: "whole numbers", float: "numbers"}[one]
        return " ".join([f"list of {of if args[-1] is Ellipsis else f'{len(args)} {of}'}", limits_of(limits)]).strip()
    if origin in (Union, UnionType):
        return " or ".join(words(arg, []) for arg in args)
    kind = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}[annotation]
    return " ".join([kind, limits_of(metadata)]).strip()


def limits_of(metadata: list[Any]) -> str:
    return ", ".join(
        f"{sign} {getattr(m, name):,}" for m in metadata for name, sign in LIMITS.items() if getattr(m, name, None) not in (None, math.inf)
    )


LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def summary(documented: Any) -> str:
    return one_line(inspect.getdoc(documented) or "")


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# ------------------------------------------------------------ the small tables


def all_parts() -> str:
    """Every kind of part, from the registries."""
    lines = ["## Parts", "", "`selfedit show rewards` and so on list them, those of your own too: [extending](extending.md)."]
    for kind_, registry in sorted(parts.KINDS.items()):
        lines += ["", f"### {kind_}", "", "| name | in the report | what it means |", "|---|---|---|"]
        lines += [f"| `{entry.name}` | {entry.label} | {one_line(entry.means)} |" for entry in registry]
    return "\n".join(lines)


def packaged_models() -> str:
    lines = ["## Packaged models", "", "| name | what it is | download | on disk | licence | source |", "|---|---|---|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{m.name}` | {m.description} | {m.download_mb} MB | {m.disk_mb} MB | {m.licence} | {m.source} |" for m in models.packaged())]
    )


def exit_codes() -> str:
    from selfedit.store import runs  # defines the last of them

    lines = ["## Exit codes", "", "An error is one line on standard error that says what to do.", "", "| code | error | when |", "|---|---|---|"]
    assert runs
    found = sorted({error.exit_code: error for error in reversed(descendants(errors.SelfeditError))}.items())
    return "\n".join([*lines, "| 0 | | the work was done |", *(f"| {code} | `{error.__name__}` | {summary(error)} |" for code, error in found)])


def descendants(error: type[errors.SelfeditError]) -> list[type[errors.SelfeditError]]:
    return [error, *(below for child in error.__subclasses__() for below in descendants(child))]


# ------------------------------------------------------------ main


def main() -> int:
    wanted = page()
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
        print(f"wrote {os.path.relpath(PAGE)}")
        return 0
    found = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if found == wanted:
        print("documentation: ok")
        return 0
    sys.stdout.writelines(list(difflib.unified_diff(found.splitlines(True), wanted.splitlines(True), "docs/reference.md", "the code", n=1))[:40])
    print("docs/reference.md is out of date: run `make docs`")
    return 1


if __name__ == "__main__":
    sys.exit(main())
