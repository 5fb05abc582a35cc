"""Plain-text tools that tasks, strategies and rewards share: comparing answers, cutting sentences, reading question-answer pairs."""

from selfedit.text.compare import (
    RECALL,
    ask,
    contains,
    cue,
    duration,
    exact_match,
    finished,
    gold_token_recall,
    holding,
    near,
    normalise,
    plain_words,
    says,
    sentences,
    words,
)

__all__ = [
    "RECALL",
    "ask",
    "contains",
    "cue",
    "duration",
    "exact_match",
    "finished",
    "gold_token_recall",
    "holding",
    "near",
    "normalise",
    "plain_words",
    "says",
    "sentences",
    "words",
]
