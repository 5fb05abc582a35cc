"""tyro, with errors of one line: what is wrong, and the nearest thing that is right."""

from __future__ import annotations

import difflib
import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro import _errors as events  # tyro's hook for errors of its own; the version is pinned in constraints.txt

from selfedit.errors import ConfigError

CONFIG = (tyro.conf.FlagCreatePairsOff,)

_KINDS = {"|INT ": "a whole number", "|FLOAT ": "a number"}
"""What an option takes that may be left out, by tyro's name for it."""

C = TypeVar("C")


def parse(command: type[C], name: str, args: Sequence[str]) -> C:
    """The arguments of a command, described by a dataclass whose docstring is its help. Raises ConfigError; SystemExit after `--help`."""

    def refuse(event: events.ParseErrorEvent) -> None:
        raise ConfigError(_explain(event, command, name, args))

    with events.on_parse_error(refuse):
        found, unknown = tyro.cli(
            command, args=list(args), prog=f"selfedit {name}", description=_description(command), return_unknown_args=True, config=CONFIG
        )
    if unknown:
        raise ConfigError(_unknown(command, name, unknown[0]))
    return found


def _description(command: type[Any]) -> str:
    """The docstring: its paragraphs as wide as the boxes below them, its examples as they are."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(text if "\n  " in text else textwrap.fill(" ".join(text.split()), 80) for text in paragraphs)


def _explain(event: events.ParseErrorEvent, command: type[Any], name: str, args: Sequence[str]) -> str:
    """What tyro would say, in one line. An unknown flag comes first: what followed it may have been taken for something else."""
    known = flags_of(command)
    if wrong := [one for one in args if one.startswith("--") and one.partition("=")[0].replace("_", "-") not in known]:
        return _unknown(command, name, wrong[0])
    match event:
        case events.InstantiationFailure(message=message, argument=argument):
            wanted = next((words for kind, words in _KINDS.items() if kind in message), "")
            said = f" takes {wanted}{_got(argument, args)}" if wanted and "no type matching" in message else f": {_line(message)}"
            text = f"{argument.display_name()}{said}" if argument else _line(message)
        case events.InvalidChoice(argument=argument, value=value, choices=choices):
            text = f"invalid choice '{value}' for {argument.display_name()}; there are {', '.join(choices)}"
        case events.MissingArgs(missing_arguments=missing):
            text = f"{', '.join(one.arg.display_name() for one in missing)} is missing"
        case events.BadValue(argument=argument):
            text = f"{argument.display_name()} needs a value"
        case events.UnrecognizedArgs(tokens=tokens):
            return _unknown(command, name, tokens[0])
        case _:
            text = "cannot be understood"
    return f"{name}: {text} (selfedit {name} --help)"


def _got(argument: Any, args: Sequence[str]) -> str:
    from selfedit.cli.flags import named

    given = named(args, argument.display_name().split(",")[0].lstrip("-")) if argument else []
    return f" (got '{given[0]}')" if given else ""


def _line(text: str) -> str:
    return " ".join(text.split())


def _unknown(command: type[Any], name: str, argument: str) -> str:
    from selfedit.cli.flags import owners

    if not argument.startswith("-"):
        return f"{name}: there is no place for '{argument}' (selfedit {name} --help)"
    flag = argument.partition("=")[0]
    known = flags_of(command)
    section = ".".join(flag.split(".")[:2])
    if (owner := owners(flag)) and not any(one.startswith(section) for one in known):
        return f"{name}: {owner}"
    near = difflib.get_close_matches(flag, known, n=1, cutoff=0.0)
    return f"{name}: unknown option {flag}" + (f"; the nearest is {near[0]}" if near else "") + f" (selfedit {name} --help)"


def flags_of(command: type[Any]) -> list[str]:
    """Every flag a command takes."""
    return ["--help", *_flags(command, "")]


def _flags(section: type[Any], prefix: str) -> list[str]:
    """The flags of a section's fields, and of its own sections."""
    found: list[str] = []
    hints = get_type_hints(section, include_extras=True)
    for one in fields(section):
        base, *marks = get_args(hints[one.name]) if get_origin(hints[one.name]) is Annotated else (hints[one.name],)
        if tyro.conf.Suppress in marks or tyro.conf.Positional in marks:
            continue
        said = [mark for mark in marks if hasattr(mark, "aliases")]  # what tyro.conf.arg leaves
        name = next((mark.name for mark in reversed(said) if mark.name is not None), one.name)
        path = ".".join(part for part in (prefix, name) if part).replace("_", "-")
        found += [alias for mark in said for alias in mark.aliases or ()]
        found += _flags(base, path) if isinstance(base, type) and is_dataclass(base) else [f"--{path}"]
    return found
