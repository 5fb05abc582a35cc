"""tyro, with errors of one line: what is wrong, and the nearest thing that is right."""

from __future__ import annotations

import difflib
import inspect
import io
import re
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any, TypeVar, cast

import tyro
from pydantic import ValidationError

from selfedit.errors import ConfigError

CONFIG = (tyro.conf.FlagCreatePairsOff,)

C = TypeVar("C")


def parse(command: type[C], name: str, args: Sequence[str], default: C | None = None) -> C:
    """The arguments of a command, described by a dataclass whose docstring is its help. Raises ConfigError; SystemExit after `--help`."""
    said = io.StringIO()
    more: dict[str, Any] = {"description": _description(command)} | ({} if default is None else {"default": default})
    try:
        with redirect_stderr(said):
            found, unknown = tyro.cli(command, args=list(args), prog=f"selfedit {name}", return_unknown_args=True, config=CONFIG, **more)
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        known = flags_of(command)
        if wrong := [arg for arg in args if arg.startswith("--") and arg.partition("=")[0].replace("_", "-") not in known]:
            raise ConfigError(_unknown(command, name, wrong[0])) from None  # what followed it may have been taken for something else
        raise ConfigError(f"{name}: {_one_line(said.getvalue())} (selfedit {name} --help)") from None
    except ValidationError as error:
        first = error.errors()[0]
        flag = ".".join(map(str, first["loc"])).replace("_", "-")
        raise ConfigError(f"{name}: --{flag}: {first['msg']} (got {first['input']!r})") from None
    if unknown:
        raise ConfigError(_unknown(command, name, unknown[0]))
    return cast("C", found)


def _description(command: type[Any]) -> str:
    """The docstring: its paragraphs as wide as the boxes below them, its examples as they are."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(text if "\n  " in text else textwrap.fill(" ".join(text.split()), 80) for text in paragraphs)


def _unknown(command: type[Any], name: str, argument: str) -> str:
    if not argument.startswith("-"):
        return f"{name}: there is no place for '{argument}' (selfedit {name} --help)"
    flag = argument.partition("=")[0]
    near = difflib.get_close_matches(flag, flags_of(command), n=1, cutoff=0.0)
    return f"{name}: unknown option {flag}" + (f"; the nearest is {near[0]}" if near else "") + f" (selfedit {name} --help)"


def flags_of(command: type[Any]) -> list[str]:
    """Every flag a command takes."""
    said = io.StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        tyro.cli(command, args=["--help"], config=CONFIG)
    return re.findall(r"(?<![\w-])--[a-z][\w.-]*", said.getvalue())


def _one_line(box: str) -> str:
    """The first message of tyro's box: what stands between its title and the first rule. The box is of other characters where there is no UTF-8."""
    sections: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip("│ ")
        if text.startswith("╭") or (text and set(text) <= set("─-╰╯")):
            sections.append([])
        elif text:
            sections[-1].append(text)
    body = " ".join(sections[1] if len(sections) > 1 else sections[0])
    if unfit := re.match(r"Error parsing (\S+): no type matching \{None\}\|(\S+) could be instantiated from \[(.*?)\]\.", body):
        flag, kind, value = unfit.groups()
        return f"{flag} takes {({'INT': 'a whole number', 'FLOAT': 'a number'}).get(kind, kind)} (got {value})"
    refused = re.match(
        r"Error parsing (\S+): \d+ validation errors? for \S+ (\S+) (?:Value error, )?(.*?) \[type=(\w+), input_value=(.*?), input_type=", body
    )
    if refused:
        parent, key, message, kind, value = refused.groups()
        flag = f"--{parent.strip('-').removeprefix('settings.')}.{key}".replace("_", "-")
        return f"{flag}: {message}" if kind == "value_error" else f"{flag}: {message} (got {value})"  # as in config/recipe.py
    return body.removeprefix("Error parsing ").strip() or "cannot be understood"
