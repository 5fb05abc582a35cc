"""The gate: whether a question is about a learned document, or the untrained model answers it.

A logistic model of what `routing.features` found. Its weights were fitted once, on questions about documents against everyday prompts
(`python -m benchmarks.gate` fits them again and says how well they tell the two apart). The threshold is the library's own: few of the everyday
prompts that are kept for this may get in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfedit.library.records import Found

INTERCEPT = -7.12
WEIGHTS = {"held": 2.88, "foreign": -1.35, "told": 1.82}
"""Log-odds for each unit of a feature."""
MOST_TOLD = 2.0
"""Nats a token. A document that would have to tell more of a question to get in is not read: hardly one told an everyday prompt more."""
LET_IN = 0.01
"""Share of everyday prompts that may get in."""
CONFIDENCE = 0.95
"""How sure calibration has to be that no larger share gets in."""


@dataclass(frozen=True, slots=True)
class Features:
    """What speaks for a document. Likelihoods are of the question's tokens under the untrained model, nats.

    `held`: the surprise of the question's words that stand in the document, as log(1 + nats). `foreign`: that of its other words, likewise. `told`:
    how much likelier the question is after the document's text than without it, a token; -inf where the document need not be read (`worth_reading`).
    """

    held: float
    foreign: float
    told: float = -math.inf


Seen = dict[tuple[str, str], Features]
"""What speaks for documents, by question and id of the document."""


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
    """Who answers: the document whose adapter is asked, or None for the untrained model.

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


def worth_reading(features: Features) -> bool:
    """Whether the document could get in if it told `MOST_TOLD` of the question."""
    return log_odds(replace(features, told=MOST_TOLD)) > 0


def log_odds(features: Features) -> float:
    """How much speaks for the document."""
    return INTERCEPT + sum(weight * float(getattr(features, name)) for name, weight in WEIGHTS.items())


def route(found: Sequence[tuple[Found, Features]], gate: Gate) -> Route:
    """The best of the candidates of one question, if it gets in."""
    scored = [(log_odds(features), one) for one, features in found if features.told > -math.inf]
    if not scored:
        return Route(None, None)
    score, best = max(scored, key=lambda pair: (pair[0], -pair[1].rank))
    return Route(best if score > gate.threshold else None, score)


def calibrated(everyday: Sequence[float | None], about: Sequence[float | None] = ()) -> Gate:
    """The gate that lets in at most `LET_IN` of all everyday prompts, as far as these can show (`few_enough`).

    Its threshold is not below 0, where both are as probable. Scores are of the best candidates, None where there was none. `about` are scores of
    questions about the documents, to say how many are kept.
    """
    scores = sorted((-math.inf if score is None else score for score in everyday), reverse=True)
    allowed = few_enough(len(scores))
    threshold = max(0.0, scores[allowed]) if allowed < len(scores) else 0.0
    return Gate(threshold, _share(everyday, threshold), _share(about, threshold))


def few_enough(prompts: int) -> int:
    """How many of these everyday prompts may get in, so that at most `LET_IN` of all such prompts do with a confidence of `CONFIDENCE`: 8 of 1,466.

    By the one-sided limit of Clopper and Pearson (1934). Below 299 prompts, which can show nothing, none may.
    """
    number, so_far = 0, (1 - LET_IN) ** prompts
    while so_far <= 1 - CONFIDENCE:
        number += 1
        so_far += math.comb(prompts, number) * LET_IN**number * (1 - LET_IN) ** (prompts - number)
    return max(0, number - 1)


def _share(scores: Sequence[float | None], threshold: float) -> float | None:
    return sum(score is not None and score > threshold for score in scores) / len(scores) if scores else None
