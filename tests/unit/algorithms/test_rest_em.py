"""ReST-EM's selection, and its agreement with the rows that SEAL's authors selected."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from selfedit.algorithms.rest_em import best
from selfedit.types import Candidate, Proposal, Reward, Selected, SelfEdit, Verdict

QA = SelfEdit("self-qa", (), ())
DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


def candidate(task: str, index: int, value: float | None, *decisions: Any, round_: int = 0, edit: SelfEdit = QA) -> Candidate:
    proposal = Proposal(task, round_, index, seed=0, edit=edit)
    return Candidate(proposal, Reward(value, "correctness"), verdicts=tuple(Verdict("norm", decision, "") for decision in decisions))


def test_best_of_each_task_in_the_order_of_tasks() -> None:
    group = [candidate("b", 0, 0.1), candidate("a", 0, 0.5), candidate("b", 1, 0.3), candidate("a", 1, 0.2), candidate("b", 2, 0.2)]
    assert best(group, 1) == [Selected("b", 0, 1), Selected("a", 0, 0)]
    assert best(group, 2) == [Selected("b", 0, 1), Selected("b", 0, 2), Selected("a", 0, 0), Selected("a", 0, 1)]


def test_unscored_and_rejected_are_never_kept() -> None:
    group = [candidate("a", 0, None), candidate("a", 1, 0.9, "accept", "reject"), candidate("a", 2, 0.9, "stop"), candidate("a", 3, -0.2, "accept")]
    assert best(group, 4) == [Selected("a", 0, 3)]
    assert best(group[:3], 4) == []


def test_equal_rewards_by_lower_index_whatever_the_order_and_the_rounding() -> None:
    sums = [candidate("a", 2, 0.1 + 0.2), candidate("a", 1, 0.3), candidate("a", 0, 0.2)]
    assert 0.1 + 0.2 > 0.3
    assert best(sums, 1) == best(sums[::-1], 1) == [Selected("a", 0, 1)]


def test_rounds_are_groups_of_their_own() -> None:
    assert best([candidate("a", 0, 0.1), candidate("a", 0, 0.2, round_=1)], 1) == [Selected("a", 0, 0), Selected("a", 1, 0)]


@pytest.fixture(scope="module")
def released() -> tuple[list[dict[str, Any]], dict[str, str]]:
    if not (DATA / "seal_round0_rewards.json.gz").exists():
        pytest.skip("SEAL's released rewards are not beside the repository (../shared/data)")
    with gzip.open(DATA / "seal_round0_rewards.json.gz", "rt") as file:
        articles = json.load(file)["articles"]
    with gzip.open(DATA / "seal_round0_sft_rows.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    return articles, {row["prompt"]: row["completion"] for row in rows}


def _agreeing(articles: list[dict[str, Any]], rows: dict[str, str], reward: Any) -> tuple[int, list[str]]:
    """How many tasks of which the selection is the authors' row, and the titles of the others."""
    tasks = [(f"{number} {article['title']}", article) for number, article in enumerate(articles)]
    group = [candidate(name, index, reward(one)) for name, article in tasks for index, one in enumerate(article["completions"])]
    chosen = {kept.task_id: kept.index for kept in best(group, 1)}
    others = [article["title"] for name, article in tasks if article["completions"][chosen[name]]["text"] != rows[article["prompt"]]]
    return len(articles) - len(others), others


def test_selects_the_authors_fifty_rows(released: tuple[list[dict[str, Any]], dict[str, str]]) -> None:
    articles, rows = released
    assert len(articles) == len(rows) == 50
    assert _agreeing(articles, rows, lambda one: one["stats"]["adapter_mean"]) == (50, [])


def test_their_statistic_is_a_mean_of_rounded_accuracies(released: tuple[list[dict[str, Any]], dict[str, str]]) -> None:
    articles, rows = released

    def seeds(one: dict[str, Any]) -> list[float]:
        reps = sorted({question["rep"] for question in one["questions"]})
        marks = [[question["adapter_correct"] for question in one["questions"] if question["rep"] == rep] for rep in reps]
        return [sum(mark) / len(mark) for mark in marks]

    assert _agreeing(articles, rows, lambda one: sum(round(share, 4) for share in seeds(one)) / 3) == (50, [])
    assert _agreeing(articles, rows, lambda one: sum(seeds(one)) / 3) == (48, ["Egypt", "Greece"])
