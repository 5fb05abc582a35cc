"""Recipes as text.

1. A printed recipe is read back as the same recipe, whatever is in it, and says what each key is for.
2. Where a recipe names some keys of `propose.sampling`, the others are as they are by default.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from selfedit import parts
from selfedit.config import Recipe, parse_recipe
from selfedit.config.toml import recipe_toml
from selfedit.types import Drawing


def test_round_trip() -> None:  # promise 1
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


def test_one_key_of_sampling() -> None:  # promise 2
    assert parse_recipe({"propose": {"sampling": {"temperature": 1.0}}}).propose.sampling == Drawing(256, 1.0, 0.95)
    assert parse_recipe({"propose": {"sampling": {"max_tokens": 64, "seed": 0}}}).propose.sampling == Drawing(64, 0.7, 0.95)
