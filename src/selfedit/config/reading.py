"""Recipes are read: from a file, from the package, from values; and what is said of one that is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from selfedit import parts
from selfedit.config.recipe import CHOSEN, TABLES, Recipe
from selfedit.errors import ConfigError
from selfedit.parts import Settings

RENAMED = {"screening": "prefilter", "trials": "reliability", "reliability.screens": "reliability.prefilters", "eval.arms": "eval.baselines"}
"""Keys that version 0.1.0 had, with their names since; nested ones with a dot. The first is renamed first."""


def load_recipe(path: Path) -> Recipe:
    """Read a TOML recipe. Raises ConfigError naming the key, and the nearest valid one where it is misspelt."""
    return parse_recipe(read_toml(path), source=str(path))


def packaged(name: str) -> Recipe:
    """A recipe that comes with the package: `learn` and `demo`, which these commands begin with, and those of domains."""
    with resources.as_file(resources.files("selfedit").joinpath(f"data/{name}.toml")) as file:
        return load_recipe(file)


def packaged_for(edits: Sequence[str]) -> Recipe | None:
    """The packaged recipe for self-edits of these kinds, None where the defaults are for them."""
    kinds = {kind for one in ([edits] if isinstance(edits, str) else edits) for kind in one.split(",")}
    name = f"edits-{'-'.join(sorted(kinds))}"
    return packaged(name) if resources.files("selfedit").joinpath(f"data/{name}.toml").is_file() else None


def beginning(domain: str) -> Recipe | None:
    """The packaged recipe that runs of a domain begin with; None where that is the defaults, or there is no such domain."""
    parts.load()
    registry = parts.KINDS["domain"]
    name = getattr(registry.get(domain).build, "begins_with", "") if domain in registry else ""
    return packaged(name) if name else None


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file. Raises ConfigError where it is missing or broken."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no recipe at {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def parse_recipe(values: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """Check the values of a recipe; its plug-ins are imported first. Raises ConfigError, one line, for the first thing that is wrong."""
    plugins = values.get("plugins", ())
    parts.load(plugins if isinstance(plugins, list | tuple) and all(isinstance(name, str) for name in plugins) else ())
    whole = dict(values)
    for key, (kind, standard) in CHOSEN.items():
        if isinstance(whole.get(key), Mapping):
            whole[key] = _settings(kind, str(whole[key].get("type", standard)), whole[key], key, source)
    for key, kind in TABLES.items():
        if isinstance(whole.get(key), Mapping):
            whole[key] = {name: _settings(kind, name, own, f"{key}.{name}", source) for name, own in whole[key].items()}
    try:
        return Recipe.model_validate(whole)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from error


def _settings(kind: str, name: str, values: Any, key: str, source: str) -> Any:
    """The settings of a part. Raises ConfigError that names the key."""
    try:
        entry = parts.KINDS[kind].get(name)
    except ConfigError as error:
        raise ConfigError(f"{source}: {key}: {error}") from error
    if isinstance(values, Settings):
        return values
    try:
        return entry.settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, source, key, entry)) from error


def _explain(error: ValidationError, source: str, section: str = "", entry: parts.Entry[Any] | None = None) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    key = ".".join(part for part in (section, *map(str, first["loc"])) if part)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if entry and len(first["loc"]) == 1:
            return f"{source}: {key} is no setting of {entry.name}, which has {', '.join(entry.settings.model_fields)}"
        if key in RENAMED:
            return f"{source}: '{key}' is called '{RENAMED[key]}' since version 0.1.0"
        near = difflib.get_close_matches(key, list(keys_of(Recipe)), n=1, cutoff=0.0)
        return f"{source}: unknown key '{key}'; the nearest valid one is '{near[0]}'"
    if first["type"] == "model_type":
        return f"{source}: {key} is a section, [{key}], with keys of its own (got {first['input']!r})"
    got = "" if first["type"] == "value_error" else f" (got {first['input']!r})"  # our own messages say enough, and an address may hold a password
    return ": ".join(part for part in (source, key, first["msg"].removeprefix("Value error, ")) if part) + got


def keys_of(model: type[Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of every key below a section; of a section that chooses a part, those of all parts."""
    parts.load()
    for name, kind in _fields(model):
        key = f"{prefix}{name}"
        yield key
        if model is Recipe and name in CHOSEN:
            for entry in parts.KINDS[CHOSEN[name][0]]:
                yield from keys_of(entry.settings, f"{key}.")
        elif model is Recipe and name in TABLES:
            for entry in parts.KINDS[TABLES[name]]:
                yield from keys_of(entry.settings, f"{key}.{entry.name}.")
        elif isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind)):
            yield from keys_of(kind, f"{key}.")


def _fields(model: type[Any]) -> list[tuple[str, Any]]:
    if issubclass(model, BaseModel):
        return [(name, field.annotation) for name, field in model.model_fields.items()]
    return [(field.name, field.type) for field in fields(model) if not field.name.startswith("__")]
