"""A printed recipe is read back as the same recipe, whatever is in it, and says what each key is for."""

from __future__ import annotations

import tomllib
from pathlib import Path

from selfedit.config import Correctness, FakeEngine, Recipe, parse_recipe
from selfedit.config.toml import recipe_toml
from selfedit.types import Drawing


def test_round_trip() -> None:
    hard = Recipe(
        model='a "quoted" \\ model\n',
        docs=(Path("a b/ü.md"),),
        reward=Correctness(),
        engine=FakeEngine(),
        propose=Recipe().propose.model_copy(update={"sampling": Drawing(stop=("\n\n", "\t#"), top_p=1e-7)}),
    )
    for recipe in (Recipe(), hard):
        assert parse_recipe(tomllib.loads(recipe_toml(recipe))) == recipe


def test_every_documented_key_carries_its_words() -> None:
    text = recipe_toml()
    assert "# Self-edits a task (K).\ncandidates = " in text
    assert "# The inner loop: one adapter trained on one self-edit.\n[inner]" in text
