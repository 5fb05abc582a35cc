"""Fields of a recipe that hold the settings of a part: one chosen by `type`, or those of parts that a list names."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from selfedit import parts


def chosen(kind: str, standard: str) -> Any:
    """A section that chooses a part of this kind by `type`; without one it is the `standard` part, and so it is by default."""

    def default() -> parts.Settings:
        parts.load()
        settings: parts.Settings = parts.KINDS[kind].get(standard).settings()
        return settings

    return Field(default_factory=default, json_schema_extra={"chooses": kind, "standard": standard})


def table(kind: str) -> Any:
    """A section that holds settings of parts of this kind by their names: `[guard.forgetting]`."""
    return Field(default_factory=dict, json_schema_extra={"holds": kind})
