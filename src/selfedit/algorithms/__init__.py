"""Learning from rewards: a file an algorithm."""

from selfedit.algorithms.base import Algorithm, Outer, algorithm

__all__ = ["Algorithm", "Outer", "algorithm"]
