"""From a recipe to a policy: the model is found, opened, and put into the engine the recipe names. torch is loaded here and not before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from selfedit.config import Recipe
from selfedit.engine.base import Engine
from selfedit.policy.policy import Policy


def open_engine(recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> Engine:
    """The engine with its model; another one for sampling, where the recipe names it. Raises ModelError, EngineError or ConfigError."""
    engine: Engine = recipe.open("engine").open(recipe.model, say)
    if recipe.sampler is None:
        return engine
    from selfedit.engine.split import SplitEngine

    split: Engine = SplitEngine(engine, recipe.open("sampler").open(recipe.model, say))
    return split


def open_policy(recipe: Recipe, adapter: Path | None = None, say: Callable[[str], None] = lambda text: None) -> Policy:
    """A policy with the weights of the model, or of the model with an adapter merged."""
    engine = open_engine(recipe, say)
    if adapter is not None:
        engine.merge(engine.load(adapter))
    return Policy(engine, recipe)


def title(recipe: Recipe) -> str:
    """The title of the stage in which a model is opened."""
    return f"Opening {recipe.model}" if recipe.open("engine").real else "Opening the fake model"
