"""tyro, with errors of one line: what is wrong, and the nearest thing that is right."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any, TypeVar

from pydantic import ValidationError

from selfedit.errors import ConfigError

C = TypeVar("C")


def parse(command: type[C], name: str, args: Sequence[str], default: C | None = None) -> C:
    """The arguments of a command, described by a dataclass whose docstring is its help. Raises ConfigError; SystemExit after `--help`."""
    import tyro

    said = io.StringIO()
    more: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with redirect_stderr(said):
            found, unknown = tyro.cli(
                command, args=list(args), prog=f"selfedit {name}", return_unknown_args=True, config=(tyro.conf.FlagCreatePairsOff,), **more
            )
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        raise ConfigError(f"{name}: {_one_line(said.getvalue())} (selfedit {name} --help)") from None
    except ValidationError as error:
        first = error.errors()[0]
        flag = ".".join(map(str, first["loc"])).replace("_", "-")
        raise ConfigError(f"{name}: --{flag}: {first['msg']} (got {first['input']!r})") from None
    if unknown:
        raise ConfigError(_unknown(command, name, unknown[0]))
    return found


def _unknown(command: type[Any], name: str, argument: str) -> str:
    if not argument.startswith("-"):
        return f"{name}: there is no place for '{argument}' (selfedit {name} --help)"
    flag = argument.split("=")[0]
    near = difflib.get_close_matches(flag, flags_of(command, name), n=1, cutoff=0.0)
    return f"{name}: unknown option {flag}" + (f"; the nearest is {near[0]}" if near else "") + f" (selfedit {name} --help)"


def flags_of(command: type[Any], name: str) -> list[str]:
    """Every flag a command takes."""
    import tyro

    parser = tyro.extras.get_parser(command, prog=f"selfedit {name}")
    return re.findall(r"(?<![\w-])--[a-z][\w.-]*", parser.format_help())


def _one_line(box: str) -> str:
    """The first message of tyro's box."""
    lines = [line.strip("╭╮╰╯│ ").strip() for line in box.splitlines()[1:]]
    body = " ".join(lines[: next((i for i, line in enumerate(lines) if set(line) <= {"─"}), len(lines))])
    refused = re.match(r"Error parsing (\S+): \d+ validation errors? for \S+ (\S+) (.*?) \[type=\w+, input_value=(.*?), input_type=", body)
    if refused:
        parent, key, message, value = refused.groups()
        return f"--{parent.strip('-').removeprefix('settings.')}.{key}: {message} (got {value})".replace("_", "-")
    return body.removeprefix("Error parsing ").strip() or "cannot be understood"
