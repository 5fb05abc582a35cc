"""Documents, the questions about them, and the table at the end."""

from __future__ import annotations

import difflib

from pydantic import Field, field_validator

from selfedit.config.base import Settings


class Questions(Settings):
    """Where the questions of a task come from and how they are divided."""

    report_share: float = Field(0.5, gt=0, lt=1)
    """Share of a task's facts whose questions are kept for the report and never used for a reward; documents to train a policy on keep none."""
    written: int = Field(8, ge=2, le=64)
    """Questions wanted for a passage that comes without any."""
    samples: int = Field(3, ge=2, le=16)
    """Independent answers, with the passage in view, that have to agree before a written question counts."""
    max_tokens: int = Field(48, ge=1)
    """Longest answer, tokens."""


BASELINES = ("base", "passage_only", "token_matched", "untrained", "random_edit", "best_of_k", "all_edits", "more_edits", "oracle")
"""What `eval.baselines` may name. Rows of a policy that was taught or trained are in the table by themselves."""


class Evaluation(Settings):
    """The comparison at the end of `train` and `eval`, on documents that nobody learned from."""

    baselines: tuple[str, ...] = ("base", "passage_only", "token_matched", "untrained", "oracle")
    """What stands beside the policy; docs/comparisons.md describes each. Left out here, because they cost more: `best_of_k` (K adapters for each
    document and seed), `all_edits` (one as long as K), `more_edits` and `random_edit` (one each)."""
    seeds: int = Field(1, ge=1)
    """How often every row is trained, with self-edits and adapters of its own each time. Rows are paired by seed."""

    @field_validator("baselines")
    @classmethod
    def _known(cls, rows: tuple[str, ...]) -> tuple[str, ...]:
        for row in rows:
            if row not in BASELINES:
                near = difflib.get_close_matches(row, BASELINES, n=1, cutoff=0.0)[0]
                raise ValueError(f"there is no row '{row}'; the nearest is '{near}' (there are: {', '.join(BASELINES)})")
        return rows


class Documents(Settings):
    """How long documents are cut into passages."""

    passage_words: int = Field(150, ge=20)
    """About how many words a passage has."""
    max_bytes: int = Field(16 * 2**20, ge=1)
    """A larger file is refused."""
    max_passages: int = Field(2000, ge=1)
    """More passages are refused."""
