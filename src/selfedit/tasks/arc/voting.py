"""From what was answered in several views to at most a few attempts: the answers are turned back, counted, and weighed by their likelihood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from selfedit.tasks.arc.grids import Grid

Rank = Literal["likelihood", "votes"]
"""What comes first: how likely a candidate is over the views, or how many views answered with it. The other decides ties."""


def candidates(answers: Sequence[Grid | None], most: int) -> list[tuple[Grid, int]]:
    """Different answers with their votes, the most frequent first, at most `most`; those with as many votes in the order they came."""
    return Counter(answer for answer in answers if answer is not None).most_common(most)


def ranked(votes: Sequence[tuple[Grid, int]], likelihood: Mapping[Grid, float], rank: Rank, attempts: int) -> list[Grid]:
    """The first `attempts` candidates. `likelihood` is the sum of their log-probabilities over views, nats: a product of experts."""

    def key(candidate: tuple[Grid, int]) -> tuple[float, float]:
        grid, number = candidate
        both = (likelihood[grid], float(number))
        return both if rank == "likelihood" else (both[1], both[0])

    return [grid for grid, _ in sorted(votes, key=key, reverse=True)[:attempts]]
