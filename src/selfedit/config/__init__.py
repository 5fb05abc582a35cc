"""The recipe: everything a run depends on, checked before any model loads. Imports no torch.

A recipe is a TOML file; every key has a default, unknown keys are refused with the nearest valid one, variants are unions on `type`.
"""

from selfedit.config.algorithms import DPO, GRPO, PPO, AlgorithmSettings, Archive, Bandit, ColdStart, Evolve, Outer, Reinforce, RestEM, Searching
from selfedit.config.base import Settings, by_type
from selfedit.config.engine import EngineSettings, FakeEngine, TorchEngine
from selfedit.config.inner import MIXED, MOST_CHOICES, Inner, Propose
from selfedit.config.prefilter import PREFILTERS, EarlyStop, Gradient, Halving, InContext, NoPrefilter, PrefilterSettings, ReliabilityStudy, Selective
from selfedit.config.questions import BASELINES, Documents, Evaluation, Questions
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

__all__ = [
    "BASELINES",
    "DPO",
    "GRPO",
    "MIXED",
    "MOST_CHOICES",
    "PPO",
    "PREFILTERS",
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
    "NoPrefilter",
    "Outer",
    "Perplexity",
    "PrefilterSettings",
    "Propose",
    "PythonFunction",
    "Questions",
    "Recipe",
    "Reinforce",
    "ReliabilityStudy",
    "RestEM",
    "RewardSettings",
    "Searching",
    "Selective",
    "Settings",
    "TorchEngine",
    "by_type",
    "check_learning",
    "load_recipe",
    "parse_recipe",
]
