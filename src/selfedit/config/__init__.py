"""The recipe: everything a run depends on, checked before any model loads. Imports no torch.

A recipe is a TOML file; every key has a default, unknown keys are refused with the nearest valid one, variants are unions on `type`.
"""

from selfedit.config.algorithms import DPO, GRPO, PPO, AlgorithmSettings, Archive, Bandit, ColdStart, Evolve, Outer, Reinforce, RestEM, Searching
from selfedit.config.base import Settings, by_type
from selfedit.config.engine import EngineSettings, FakeEngine, TorchEngine
from selfedit.config.exam import ARMS, Documents, Evaluation, Questions
from selfedit.config.inner import MIXED, MOST_CHOICES, Inner, Propose
from selfedit.config.recipe import UNIONS, GuardSettings, Recipe, check_learning, load_recipe, parse_recipe
from selfedit.config.rewards import (
    Choice,
    Correctness,
    Expectation,
    Judge,
    Likelihood,
    Majority,
    Mix,
    Perplexity,
    PythonFunction,
    RewardSettings,
)
from selfedit.config.screening import SCREENS, EarlyStop, Gradient, Halving, InContext, NoScreening, ScreeningSettings, Selective, Trials

__all__ = [
    "ARMS",
    "DPO",
    "GRPO",
    "MIXED",
    "MOST_CHOICES",
    "PPO",
    "SCREENS",
    "UNIONS",
    "AlgorithmSettings",
    "Archive",
    "Bandit",
    "Choice",
    "ColdStart",
    "Correctness",
    "Documents",
    "EarlyStop",
    "EngineSettings",
    "Evaluation",
    "Evolve",
    "Expectation",
    "FakeEngine",
    "Gradient",
    "GuardSettings",
    "Halving",
    "InContext",
    "Inner",
    "Judge",
    "Likelihood",
    "Majority",
    "Mix",
    "NoScreening",
    "Outer",
    "Perplexity",
    "Propose",
    "PythonFunction",
    "Questions",
    "Recipe",
    "Reinforce",
    "RestEM",
    "RewardSettings",
    "ScreeningSettings",
    "Searching",
    "Selective",
    "Settings",
    "TorchEngine",
    "Trials",
    "by_type",
    "check_learning",
    "load_recipe",
    "parse_recipe",
]
