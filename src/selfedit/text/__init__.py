"""Plain-text tools that tasks, strategies and rewards share: comparing answers, cutting sentences, reading question-answer pairs."""

from selfedit.text.compare import ask, contains, cue, duration, holding, near
from selfedit.text.judge import RECALL, Judged, exact_match, gold_token_recall, judge_answer, says, token_f1
from selfedit.text.normal import normalise, plain_words, words
from selfedit.text.sentences import ENDS, QUESTION_MARKS, UNSPACED, finished, sentences

__all__ = [
    "ENDS",
    "QUESTION_MARKS",
    "RECALL",
    "UNSPACED",
    "Judged",
    "ask",
    "contains",
    "cue",
    "duration",
    "exact_match",
    "finished",
    "gold_token_recall",
    "holding",
    "judge_answer",
    "near",
    "normalise",
    "plain_words",
    "says",
    "sentences",
    "token_f1",
    "words",
]
