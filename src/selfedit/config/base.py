"""What every part of a recipe is made of."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every part of a recipe: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def by_type(union: Any) -> dict[str, type[Settings]]:
    """The variants of a union by their `type`."""
    kinds = get_args(get_args(union)[0]) or get_args(union)
    return {str(kind.model_fields["type"].default): kind for kind in kinds}
