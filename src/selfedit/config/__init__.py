"""The recipe: everything a run depends on, checked before any model loads. Imports no torch.

A recipe is a TOML file; every key has a default, unknown keys are refused with the nearest valid one. Sections with a `type` choose a part.
"""

from selfedit.config.reading import beginning, keys_of, load_recipe, packaged, packaged_for, parse_recipe, read_toml
from selfedit.config.recipe import CHOSEN, TABLES, Recipe, check_learning
from selfedit.config.sections import MIXED, MOST_CHOICES, ColdStart, Documents, Evaluation, Harvest, Propose, Questions, ReliabilityStudy
from selfedit.parts import Settings

__all__ = [
    "CHOSEN",
    "MIXED",
    "MOST_CHOICES",
    "TABLES",
    "ColdStart",
    "Documents",
    "Evaluation",
    "Harvest",
    "Propose",
    "Questions",
    "Recipe",
    "ReliabilityStudy",
    "Settings",
    "beginning",
    "check_learning",
    "keys_of",
    "load_recipe",
    "packaged",
    "packaged_for",
    "parse_recipe",
    "read_toml",
]
