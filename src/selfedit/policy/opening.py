"""From a recipe to a policy: the model is found, opened, and put into the engine the recipe names. torch is loaded here and not before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from selfedit.config import FakeEngine, Recipe
from selfedit.engine.base import Engine
from selfedit.policy import Policy


def open_engine(recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> Engine:
    """The engine with its model. The default model is fetched where it is missing. Raises ModelError, EngineError or ConfigError."""
    if isinstance(recipe.engine, FakeEngine):
        from selfedit.engine.fake import Fake

        return Fake()
    from selfedit.system.process import tune

    tune()
    import torch

    from selfedit.engine.torch.engine import Torch, pick_device, pick_dtype
    from selfedit.models import load, resolve
    from selfedit.models.libraries import quiet

    folder = resolve(recipe.model, pull=True, say=say)
    device = pick_device(recipe.engine.device)
    if recipe.engine.threads:
        torch.set_num_threads(recipe.engine.threads)
    model, tokenizer = load(folder, pick_dtype(recipe.engine.dtype, device), device)
    with quiet():
        engine = Torch(model, tokenizer, recipe.engine, name=recipe.model)
    if engine.slow:
        say(f"{recipe.model} runs the slow way, its own forward pass on one sequence at a time: {engine.slow}")
    return engine


def open_policy(recipe: Recipe, adapter: Path | None = None, say: Callable[[str], None] = lambda text: None) -> Policy:
    """A policy with the weights of the model, or of the model with an adapter merged."""
    engine = open_engine(recipe, say)
    if adapter is not None:
        engine.merge(engine.load(adapter))
    return Policy(engine, recipe)
