"""The gate: whether a question is about a learned document, or the model answers it as it came.

A logistic model of what `routing.features` found. Its weights were fitted once, on questions about passages of the bundled corpus' training part,
against everyday prompts (`python -m benchmarks.gate` fits them again and prints how well they tell the two apart). The threshold is the library's
own: few of the everyday prompts that are kept for this may get in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selfedit.library.records import Found
from selfedit.library.routing import Features

INTERCEPT = -6.04
WEIGHTS = {"share": 0.58, "held": 2.21, "foreign": -0.59, "gain": 0.48}
"""Log-odds for each unit of a feature."""
LET_IN = 0.01
"""Share of the everyday prompts of calibration that may get in."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets a question in where its log-odds are above `threshold`.

    `let_in` is the share of everyday prompts, and `kept` the share of questions about the documents, that did get in when it was calibrated; None
    where that was not measured.
    """

    threshold: float = 0.0
    let_in: float | None = None
    kept: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers: the document whose adapter is asked, or None for the model as it came.

    `score` is the log-odds of the best candidate, None where there was none.
    """

    found: Found | None
    score: float | None

    @property
    def sure(self) -> float:
        """How probable it is that the choice is right."""
        if self.score is None:
            return 1.0
        inside = 1 / (1 + math.exp(-max(-50.0, min(50.0, self.score))))
        return inside if self.found else 1 - inside


def log_odds(features: Features) -> float:
    """How much speaks for the document."""
    return INTERCEPT + sum(weight * float(getattr(features, name)) for name, weight in WEIGHTS.items())


def route(found: Sequence[tuple[Found, Features]], gate: Gate) -> Route:
    """The best of the candidates of one question, if it gets in."""
    scored = [(log_odds(features), one) for one, features in found]
    if not scored:
        return Route(None, None)
    score, best = max(scored, key=lambda pair: (pair[0], -pair[1].rank))
    return Route(best if score > gate.threshold else None, score)


def calibrated(everyday: Sequence[float | None], about: Sequence[float | None] = (), let_in: float = LET_IN) -> Gate:
    """The gate whose threshold lets in at most this share of everyday prompts, and is not below 0, where both are as probable.

    Scores are those of the best candidates, None where there was none. `about` are scores of questions about the documents, to say how many are kept.
    """
    scores = sorted((-math.inf if score is None else score for score in everyday), reverse=True)
    allowed = math.floor(let_in * len(scores))
    threshold = max(0.0, scores[allowed]) if allowed < len(scores) else 0.0
    return Gate(threshold, _share(everyday, threshold), _share(about, threshold))


def _share(scores: Sequence[float | None], threshold: float) -> float | None:
    return sum(score is not None and score > threshold for score in scores) / len(scores) if scores else None
