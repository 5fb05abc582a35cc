"""Directives: settings of its own inner loop that a self-edit carries. What can be set, to which values, and how that is written and read.

A directive and its alternatives are declared once, by an inner loop or a domain. The space of a recipe is what `propose.directives` names of them.
"""

from __future__ import annotations

import difflib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from selfedit.types import Directives, Value

_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "a word in quotation marks"}
"""What a value can be, in words; all alternatives of a directive are of one of these types."""
_DIGITS = 18
"""Longest whole number that is read."""


@dataclass(frozen=True, slots=True)
class Directive:
    """A setting: what it `means` in words, its alternatives, and the one that stands where a self-edit says nothing.

    `values` are all of one type; numbers stand from the least to the greatest. Raises ValueError where they do not.
    """

    name: str
    means: str
    values: tuple[Value, ...]
    default: Value

    def __post_init__(self) -> None:
        kinds = {type(value) for value in (*self.values, self.default)}
        if len(kinds) != 1 or not kinds <= _TYPES.keys() or len(set(self.values)) != len(self.values) or self.default not in self.values:
            raise ValueError(f"directive {self.name}: its alternatives {self.values} have to be of one type, each once, the default one of them")
        if self.numeric and list(self.values) != sorted(self.values):
            raise ValueError(f"directive {self.name}: its alternatives {self.values} have to stand from the least to the greatest")

    @property
    def written(self) -> tuple[str, ...]:
        """The alternatives as the policy writes them in a slot."""
        return tuple(map(write, self.values))

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers, so that what lies between two alternatives may be set as well."""
        return type(self.default) in (int, float)

    @property
    def range(self) -> str:
        """What may be set, in words."""
        return f"from {self.written[0]} to {self.written[-1]}" if self.numeric else f"one of {', '.join(self.written)}"

    def read(self, value: Any) -> Value:
        """A value that came as JSON: one of the alternatives, or a number from the least to the greatest. Raises ValueError with the reason."""
        kind = type(self.default)
        if not (type(value) is kind or (kind is float and type(value) is int)):
            raise ValueError(f"{self.name} has to be {_TYPES[kind]}, not {_short(value)}")
        if self.numeric:
            least_to_most: tuple[Any, ...] = self.values
            if not least_to_most[0] <= value <= least_to_most[-1]:
                raise ValueError(f"{self.name} is {_short(value)}, and has to be {self.range}")
            return kind(value)
        if value not in self.values:
            raise ValueError(f"{self.name} is {_short(value)}, and has to be {self.range}")
        found: Value = value
        return found


@dataclass(frozen=True, slots=True)
class Space:
    """What a self-edit may set, in the order in which it is asked for."""

    directives: tuple[Directive, ...] = ()

    def __post_init__(self) -> None:
        names = [one.name for one in self.directives]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"directive {twice} is declared twice")

    def only(self, names: Sequence[str]) -> Space:
        """The directives of these names, in this order. Raises ValueError that says what there is."""
        known = {one.name: one for one in self.directives}
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
                there = f"the nearest is '{near[0]}' (there are: {', '.join(known)})" if near else "this inner loop and domain have none"
                raise ValueError(f"unknown directive '{name}'; {there}")
        return Space(tuple(known[name] for name in names))

    @property
    def default(self) -> Directives:
        """Every directive with the value that it has where a self-edit says nothing."""
        return tuple((one.name, one.default) for one in self.directives)

    @property
    def example(self) -> str:
        """The defaults as the JSON object that `parse` reads."""
        return as_json(self.default)

    def random(self, seed: int) -> Directives:
        """Every directive set to one of its alternatives, each as likely, whatever the others are."""
        rng = random.Random(seed)
        return tuple((one.name, rng.choice(one.values)) for one in self.directives)

    def parse(self, text: str) -> Directives:
        """Read one JSON object with every directive, each once, and nothing else. Raises ValueError with the reason for anything that is not that."""
        found = _json_object(text)
        known = [one.name for one in self.directives]
        if unknown := next((name for name in found if name not in known), None):
            raise ValueError(f"{_short(unknown)} is no directive; there are {', '.join(known)}")
        if missing := next((name for name in known if name not in found), None):
            raise ValueError(f"{missing} is missing")
        return tuple((one.name, one.read(found[one.name])) for one in self.directives)


def write(value: Value) -> str:
    """A value as it stands in a slot, a prompt or a report: true, 12, 0.0005, half."""
    if isinstance(value, bool):
        return str(value).lower()
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def as_json(said: Directives) -> str:
    """Directives as the JSON object that `Space.parse` reads."""
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value) if isinstance(value, str) else write(value)}" for name, value in said) + "}"


def _json_object(text: str) -> dict[str, Any]:
    """The object that the whole text is. Raises ValueError for another text, a key that stands twice, and numbers that JSON does not have."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_int=_whole)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{_short(name)} is set twice")
        found[name] = value
    return found


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits is out of every range")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"not JSON: {name} is no number")


def _short(value: Any) -> str:
    """What a model wrote, quoted and cut."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
