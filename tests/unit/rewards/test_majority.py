"""The vote.

1. The winner has more votes than any other and at least the threshold of the readable ones; a tie has none.
2. A candidate's reward is the share of its own answers that agree with the winners of its group.
3. What cannot be read has no vote, and earns nothing.
4. Vote share, decided questions and readable answers are recorded with each candidate.
5. Groups are told apart, whatever the order of the candidates.
"""

from __future__ import annotations

from collections import Counter

import pytest
from tests.unit.rewards.made import Notes, opened, question, task, voter

from selfedit.rewards.majority import MajoritySettings, elected, majority, readable
from selfedit.types import Reward


@pytest.mark.parametrize(
    ("votes", "threshold", "winner"),
    [
        ({"a": 3, "b": 2}, 0.5, "a"),
        ({"a": 3, "b": 3}, 0.5, None),
        ({"a": 2, "b": 1, "c": 1}, 0.5, "a"),  # at the threshold
        ({"a": 2, "b": 1, "c": 1, "d": 1}, 0.5, None),
        ({"a": 2, "b": 1, "c": 1, "d": 1}, 0.0, "a"),
        ({"a": 1}, 1.0, "a"),
        ({}, 0.0, None),
    ],
)
def test_who_wins(votes: dict[str, int], threshold: float, winner: str | None) -> None:  # promise 1
    assert elected(Counter(votes), threshold) == winner


def test_agreement_by_hand() -> None:  # promises 2 and 4
    """First question: blue 4 of 6 votes. Second: 2 against 2 of 4, a tie, and two that cannot be read."""
    of = task(question("colour", ""), question("number", ""))
    one = voter(of, "Blue.", "the blue", "red", "7", "7", "I don't know")
    two = voter(of, "blue", "Blue!", "green", "8", "8", "")
    common = (("vote_share", (4 / 6 + 2 / 4) / 2), ("decided", 0.5))
    assert majority(MajoritySettings(), [one, two]) == [Reward(2 / 3, "majority", parts=(*common, ("readable", 5 / 6)))] * 2


def test_silence_does_not_pay() -> None:  # promise 3
    of = task(question("colour", ""))
    loud, silent = voter(of, "blue", "blue", "blue", "red"), voter(of, "blue", "...", "I am not sure.", "word " * 31)
    found = majority(MajoritySettings(), [loud, silent])
    assert [r.value for r in found] == [0.75, 0.25] and found[0].part("vote_share") == 4 / 5
    assert [r.part("readable") for r in found] == [1.0, 0.25]
    assert readable("word " * 31, 31) and not readable("Unknown.", 31)


def test_without_a_majority_nobody_is_scored() -> None:
    of = task(question("colour", ""), question("number", ""))
    [found] = majority(MajoritySettings(), [voter(of, "blue", "red", "", "")])
    assert found.value is None and found.reason == "no majority on any of 2 questions: 1 without a readable answer, the others tied or below 0.5"
    assert found.parts == (("vote_share", 0.5), ("decided", 0.0))  # else what is undecided would be missing from a round's share


def test_groups_are_told_apart() -> None:  # promise 5
    a, b = task(question("colour", ""), id="a"), task(question("colour", ""), id="b")
    voters = [voter(a, "blue", "blue"), voter(b, "red", "red"), voter(a, "red", "blue"), voter(b, "red", "blue")]
    assert [r.value for r in opened("majority").score(voters, Notes())] == [1.0, 1.0, 0.5, 0.5]
