"""What reciting a random sentence of the right passage would score.

1. The mean over all sentences, each as likely as any other; by hand. The best of several right answers counts.
2. Nothing is said of questions without a right answer, or without a passage.
3. A passage of one sentence gives every answer away, and F1 says how little that is.
"""

import pytest

from selfedit.study.chance import Expected, recital
from selfedit.types import Question

PASSAGE = "The weir was raised in 1847. Hedda Ruskin raised it. It stands on the Isk Brook. It leaks."


def test_by_hand() -> None:  # promise 1
    """1847 stands in one sentence of four, which has five words without its article: F1 2 / 6 of one in four. The brook: two of its five words."""
    year, brook = recital(PASSAGE, [Question("When?", "1847"), Question("Where?", "the river", aliases=("the Isk Brook",))])
    assert year == Expected(correct=0.25, f1=pytest.approx(2 / 6 / 4), exact=0)
    assert brook == Expected(correct=0.25, f1=pytest.approx(2 * 2 / (2 + 5) / 4), exact=0)
    [leaks] = recital(PASSAGE, [Question("What does it do?", "It leaks")])
    assert leaks == Expected(correct=0.25, f1=pytest.approx((1 + 2 * 1 / (3 + 2) + 2 * 1 / (2 + 5)) / 4, abs=0.1), exact=0.25)


def test_nothing_to_go_by() -> None:  # promise 2
    assert recital("", [Question("When?", "1847")]) == [] == recital("  \n", [Question("When?", "1847")])
    assert len(recital(PASSAGE, [Question("When?", "1847"), Question("Why?", "")])) == 1


def test_one_sentence_gives_all_away() -> None:  # promise 3
    [found] = recital("In 1847 the weir on the Isk Brook was raised by Hedda Ruskin of the old mill", [Question("When?", "1847")])
    assert found.correct == 1 and found.f1 < 0.2 and found.exact == 0
