"""Recipes as text.

1. A printed recipe is read back as the same recipe, whatever is in it, and says what each key is for.
2. A table that names one of its keys leaves the others as they are by default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfedit import parts
from selfedit.config import Recipe, parse_recipe
from selfedit.config.toml import recipe_toml
from selfedit.types import Drawing


def test_round_trip() -> None:  # promise 1
    parts.load()
    hard = Recipe(
        model='a "quoted" \\ model\n',
        docs=(Path("a b/ü.md"),),
        reward=parts.KINDS["reward"].get("correctness").settings(),
        engine=parts.KINDS["engine"].get("fake").settings(),
        propose=Recipe().propose.model_copy(update={"sampling": Drawing(stop=("\n\n", "\t#"), top_p=1e-7)}),
    )
    parted = parse_recipe(
        {
            "prefilter": {"type": "halving", "keep": 1},
            "sampler": {"type": "fake"},
            "strategy": {"self-qa": {}},
            "guard": {"forgetting": {"max_nats": 0.5}},
        }
    )
    for recipe in (Recipe(), hard, parted):
        assert parse_recipe(tomllib.loads(recipe_toml(recipe))) == recipe


def test_every_documented_key_carries_its_words() -> None:  # promise 1
    text = recipe_toml()
    assert "# Self-edits a task (K).\ncandidates = " in text
    assert "# The inner loop: how a self-edit becomes an adapter.\n[inner]" in text


def single(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A table with one of its keys alone, for every key in it and below it; which part a table is of stays said."""
    for key, value in table.items():
        kept = {name: table[name] for name in {"type"} & table.keys()}
        for one in single(value) if isinstance(value, dict) else [value]:
            yield kept | {key: one}


def test_one_key_of_a_table() -> None:  # promise 2
    tables = [table for table in single(Recipe().model_dump()) if parse_recipe(table) != Recipe()]
    assert tables == []
    assert parse_recipe({"propose": {"sampling": {"temperature": 1.0}}}).propose.sampling == Drawing(256, 1.0, 0.95)
