"""How good an adapter is: the judge of single answers, and the rewards made of many."""

from selfedit.rewards.judge import correct
from selfedit.rewards.rewards import correctness, likelihood, reward

__all__ = ["correct", "correctness", "likelihood", "reward"]
