"""The recipe as flags of the command line: `--inner.lora.rank 8`, `--reward likelihood --reward.of sentence`.

A section that chooses a part has the flags of the part that is chosen. So the choices are read from the arguments first, and a record of the recipe
with just those settings is made for tyro. It checks types alone; the recipe checks values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from tyro.conf import FlagConversionOff, Suppress, arg

from selfedit import parts
from selfedit.config import CHOSEN, TABLES, Recipe, parse_recipe

SUPPRESSED: Mapping[str, tuple[str, ...]] = {
    "learn": ("docs", "eval_docs", "edits", "rounds", "round_passages", "cold_start", "reliability", "sampler", "vector"),
    "eval": ("edits", "rounds", "round_passages", "cold_start", "sampler", "vector"),
    "train": ("sampler",),  # and `vector`, unless the recipe has it
}
"""Keys of the recipe that a command has no flags for."""


SUPPRESSED_TYPE: Any = Annotated[Any, Suppress]


def named(args: Sequence[str], key: str) -> list[str]:
    """The values that the arguments give for `--key` or `--key.type`, up to the next flag."""
    found: list[str] = []
    for place, argument in enumerate(args):
        flag, _, value = argument.partition("=")
        if flag in (f"--{key}", f"--{key}.type"):
            rest = [value] if value else list(args[place + 1 :])
            found = rest[: next((i for i, one in enumerate(rest) if one.startswith("--")), len(rest))]
    return found


def flags_for(command: str, args: Sequence[str], before: Recipe | None = None) -> type[Any]:
    """The record of a command's flags, given the choices in its arguments; defaults are those of the recipe `before`, where there is one.

    Raises ConfigError for a plug-in that does not exist.
    """
    parts.load([*(before.plugins if before else ()), *named(args, "plugins")])
    recipe = before or Recipe()
    found = []
    for key, info in Recipe.model_fields.items():
        value, words = getattr(recipe, key), _line(info.description)
        if key in SUPPRESSED[command] or (value is None and key in CHOSEN):
            found.append(_field(key, SUPPRESSED_TYPE, value))
        elif key in CHOSEN:
            found.append(_chosen(key, value, named(args, key)[:1], words))
        elif key in TABLES:
            found.append(_table(key, value))
        else:
            found.append(_of(key, info.annotation, value, words))
    return make_dataclass("Settings", found, frozen=True, namespace={"__doc__": "Settings of a run."})


def with_flags(command: type[Any], args: Sequence[str]) -> type[Any]:
    """A command with the flags of the recipe as its field `settings`, where it takes any: its class says so in `flags`."""
    if not hasattr(command, "flags"):
        return command
    flags = flags_for(command.flags, args, command.begins_with(args))
    settings = ("settings", Annotated[flags, arg(name="")], field(default_factory=flags))
    return make_dataclass(command.__name__, [settings], bases=(command,), frozen=True, namespace={"__doc__": command.__doc__})


def _field(key: str, kind: Any, value: Any, words: str = "") -> tuple[str, Any, Any]:
    if value is True:  # what is on by default is turned off by `--key False`
        kind = Annotated[kind, FlagConversionOff]
    return key, Annotated[kind, arg(help=words)] if words else kind, field(default_factory=lambda: value)


def _line(words: str | None) -> str:
    return " ".join((words or "").split())


def _of(key: str, kind: Any, value: Any, words: str) -> tuple[str, Any, Any]:
    """One key: a section as a record of its own, anything else as it is."""
    return _field(key, type(section := _section(value, words)), section) if isinstance(value, BaseModel) else _field(key, kind, value, words)


def _section(settings: BaseModel, words: str, more: Sequence[tuple[str, Any, Any]] = ()) -> Any:
    """A section as a record with the same keys, and its values as defaults."""
    own = [_of(key, i.annotation, getattr(settings, key), _line(i.description)) for key, i in type(settings).model_fields.items() if key != "type"]
    doc = words or (type(settings).__doc__ or "")
    return make_dataclass(type(settings).__name__, [*more, *own], frozen=True, namespace={"__doc__": doc})()


def _chosen(key: str, value: parts.Settings, wanted: Sequence[str], words: str) -> tuple[str, Any, Any]:
    """The settings of the chosen part, whose name is a flag too."""
    registry = parts.KINDS[CHOSEN[key][0]]
    name = wanted[0] if wanted and wanted[0] in registry else value.part
    settings = value if name == value.part else registry.get(name).settings()
    kind = Annotated[Literal[tuple(registry.names())], arg(aliases=[f"--{key}"], help=words)]  # type: ignore[valid-type]
    section = _section(settings, registry.get(name).means, [("type", kind, field(default=name))])
    return _field(key, type(section), section)


def _table(key: str, held: Mapping[str, parts.Settings]) -> tuple[str, Any, Any]:
    """The settings of every part of the kind that has any."""
    having = {e.name.replace("-", "_"): held.get(e.name) or e.settings() for e in parts.KINDS[TABLES[key]] if e.settings.model_fields}
    if not having:
        return _field(key, SUPPRESSED_TYPE, dict(held))
    found = [_of(name, type(own), own, "") for name, own in having.items()]
    section = make_dataclass(f"{key.capitalize()}Settings", found, frozen=True, namespace={"__doc__": f"Settings of {key}s, by name."})()
    return _field(key, type(section), section)


def as_recipe(flags: Any) -> Recipe:
    """The recipe that flags say. Raises ConfigError for what does not fit."""
    values: dict[str, Any] = {one.name: _plain(getattr(flags, one.name)) for one in fields(flags)}
    for key, kind in TABLES.items():
        entries = {e.name.replace("-", "_"): e for e in parts.KINDS[kind]}
        held = {entries[name].name: own for name, own in values[key].items()} if is_dataclass(getattr(flags, key)) else values[key]
        values[key] = {name: own for name, own in held.items() if own != _plain(parts.KINDS[kind].get(name).settings())}
    return parse_recipe(values, source="recipe")


def _plain(value: Any) -> Any:
    """Sections and records as dictionaries, so that the recipe checks every value."""
    if isinstance(value, BaseModel):
        return {key: _plain(getattr(value, key)) for key in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value


def owners(flag: str) -> str:
    """Whose setting a flag is that the chosen parts do not have, in words; empty where no part has it."""
    key, _, name = flag.removeprefix("--").replace("-", "_").partition(".")
    if key not in CHOSEN or not name:
        return ""
    having = [entry.name for entry in parts.KINDS[CHOSEN[key][0]] if name.split(".")[0] in entry.settings.model_fields]
    return f"{flag} is a setting of the {key} {' or '.join(having)}; choose it with --{key}, or leave it out" if having else ""
