"""Plain-text tools that tasks, strategies and rewards share: comparing answers, cutting sentences, reading question-answer pairs."""

from selfedit.text.compare import (
    RECALL,
    ask,
    contains,
    cue,
    duration,
    exact_match,
    gold_token_recall,
    holding,
    near,
    normalise,
    plain_words,
    says,
    words,
)
from selfedit.text.sentences import ENDS, QUESTION_MARKS, UNSPACED, finished, sentences

__all__ = [
    "ENDS",
    "QUESTION_MARKS",
    "RECALL",
    "UNSPACED",
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
