"""What a self-edit is worth: a file a reward, and the local judge of single answers."""

from selfedit.rewards.base import Expectation, Measured, Memory, Needs, RewardFunction, reward
from selfedit.rewards.local import NAME, correct
from selfedit.text import Judged, judge_answer
from selfedit.types import Reward

__all__ = ["NAME", "Expectation", "Judged", "Measured", "Memory", "Needs", "Reward", "RewardFunction", "correct", "judge_answer", "reward"]
