"""How good an adapter is: the local judge of single answers, and the rewards made of what was measured."""

from selfedit.rewards.answers import choice, correctness, likelihood
from selfedit.rewards.base import Measured, Memory, Needs
from selfedit.rewards.local import NAME, correct
from selfedit.rewards.rewards import REWARDS, check, material, needs, reward, texts

__all__ = [
    "NAME",
    "REWARDS",
    "Measured",
    "Memory",
    "Needs",
    "check",
    "choice",
    "correct",
    "correctness",
    "likelihood",
    "material",
    "needs",
    "reward",
    "texts",
]
