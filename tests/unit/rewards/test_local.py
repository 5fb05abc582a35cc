"""The local judge against GPT-4.1's verdicts on SEAL's released answers. The table is printed with `pytest -s` and published in the documentation."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfedit.rewards import correct
from selfedit.text import RECALL, contains, exact_match, gold_token_recall

VERDICTS = Path(__file__).parents[3] / ".." / "shared" / "data" / "gpt41_verdicts.jsonl.gz"


def agreement(ours: list[bool], theirs: list[bool]) -> tuple[float, float]:
    """Share of equal verdicts, and Cohen's kappa."""
    n = len(ours)
    same = sum(a == b for a, b in zip(ours, theirs, strict=True)) / n
    yes, theirs_yes = sum(ours) / n, sum(theirs) / n
    chance = yes * theirs_yes + (1 - yes) * (1 - theirs_yes)
    return same, (same - chance) / (1 - chance)


def test_agreement_by_hand() -> None:
    """Two of three alike; chance 2/3 * 1/3 + 1/3 * 2/3 = 4/9; kappa (6/9 - 4/9) / (5/9) = 0.4."""
    assert agreement([True, True, False], [True, False, False]) == (pytest.approx(2 / 3), pytest.approx(0.4))


def recalled(prediction: str, gold: str) -> bool:
    return gold_token_recall(prediction, gold) >= RECALL


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    if not VERDICTS.exists():
        pytest.skip("GPT-4.1's verdicts are not beside the repository (../shared/data)")
    with gzip.open(VERDICTS, "rt") as file:
        return [json.loads(line) for line in file]


def test_judge_agrees_with_gpt41(rows: list[dict[str, Any]], record_property: Callable[[str, object], None]) -> None:
    judges = {"selfedit": correct, "recall >= 0.6": recalled, "containment": contains, "exact match": exact_match}
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for method in ("all", *sorted({row["method"] for row in rows})):
        some = [row for row in rows if method in ("all", row["method"])]
        for name, judge in judges.items():
            verdicts = [judge(row["prediction"], row["gold"]) for row in some]
            same, kappa = found[method, name] = agreement(verdicts, [row["correct"] for row in some])
            print(f"{method:8} {name:14} n {len(some):5} agree {same:.3f} kappa {kappa:.3f} yes {sum(verdicts) / len(some):.3f}")
            record_property(f"{method} {name}", f"{same:.4f} {kappa:.4f}")
    assert len(rows) == 2922
    assert found["all", "selfedit"] >= (0.89, 0.775)
    assert all(found[method, "selfedit"][1] >= 0.75 for method in ("base", "gpt4_1", "iter2"))
    assert found["all", "selfedit"][1] > found["all", "recall >= 0.6"][1] > found["all", "containment"][1] > found["all", "exact match"][1]
