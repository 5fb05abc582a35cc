"""The local judge. No key, no network, the same verdict every time."""

from __future__ import annotations

from selfedit.text import RECALL, judge_answer

NAME = f"word recall of at least {RECALL:g}"
"""What the tables of results say about who judged."""


def correct(prediction: str, gold: str) -> bool:
    """Whether the prediction gives the gold answer, whatever else it says (the rules: `selfedit.text.says`).

    On 2,922 released answers of SEAL this agrees with GPT-4.1's verdict in 89 % (kappa 0.78); tests/unit/rewards/test_local.py recomputes the table.
    """
    return judge_answer(prediction, [gold]).correct
