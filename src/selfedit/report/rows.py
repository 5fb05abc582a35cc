"""A row of a table: what was answered after one kind of training, and what rows are called that others are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from selfedit.types import Interval

BASE = "base"
UNTRAINED = "untrained"
PICKS = "untrained_picks"
"""Where a policy picks its strategies, what training began with."""
COLD_START = "cold_start"
SETTINGS = {"default_directives": "the default settings", "random_directives": "random settings"}
"""Where a policy sets directives, rows with the self-edits of the untrained one under other settings, and what those are."""
BASELINES = (BASE, "passage_only", "token_matched", UNTRAINED, *SETTINGS, PICKS, COLD_START)
"""What the other rows are compared with, question by question."""

CHANCE = "chance"
RECITED = ("A random sentence", "what reciting a random sentence of the right passage would score; computed, no model")
"""The row of chance, which is no part."""
STRICT = "by F1, which counts what else an answer says"
"""What verdicts go by."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What one row has more than another, as shares of the same questions: of right answers, and by F1."""

    correct: Interval
    f1: Interval


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `differences` has a paired difference for each baseline there is, None where the questions are not the same.

    `accuracy` is the share of right answers, whatever else they say; `f1` and `exact` fall with what else is said. All three count questions, each
    with its mean over `seeds`; `mean_tokens` is what one adapter was trained on.
    """

    name: str
    label: str
    meaning: str
    tokens: str
    tokens_each: bool
    mean_tokens: int
    seeds: int
    tasks: int
    accuracy: Interval
    f1: Interval
    exact: Interval
    gold_logprob: Interval | None
    differences: dict[str, Gain | None]


def round_of(row: str) -> int:
    """Rounds of training that the policy had; 0 where the row is no round's."""
    number = row.removeprefix("round-")
    return int(number) if number != row and number.isdecimal() else 0
