"""What a self-edit is like, on numbers worked by hand.

1. The passage and the title that stands before each example are not measured; near repetitions are one fact.
2. Overlap: coverage and density of Grusky et al., copied trigrams; nothing goes from one piece to the next.
3. Diversity: distinct-n of Li et al., Jaccard similarity within a group, novelty against earlier self-edits.
4. What was dropped counts by its reason, without what is the piece's own.
5. What cannot be measured is None: nothing written, nobody to compare with.
6. Rank correlations with the reward have the sign they were made with, are taken within rounds, and say nothing where all are equal.
"""

from __future__ import annotations

import random

import pytest

from selfedit.strategies import find
from selfedit.study.properties import (
    PROPERTIES,
    Values,
    copied,
    differ,
    distinct,
    fragments,
    group,
    jaccard,
    overlap,
    read,
    reason,
    shares,
    taught,
    with_reward,
)
from selfedit.types import Dropped, Example, Prompt, SelfEdit, Task, Turn

TASK = Task("t", "Corve Mill", "The mill was built by Edda Stannis in 1688. Its wheel is of larch.")
PASSAGE = Example(f"{TASK.title}\n{TASK.context}")


def stated(*texts: str, dropped: tuple[Dropped, ...] = (), completion: str = "") -> SelfEdit:
    examples = (*(Example(f"{TASK.title}\n{text}") for text in texts), PASSAGE)
    return SelfEdit("key-facts", (Turn(Prompt("Write."), completion),) if completion else (), examples, dropped)


def test_the_passage_and_titles_are_not_measured() -> None:  # promise 1
    asked = find("self-qa").build(TASK.title, TASK.context, [Turn(Prompt("Ask."), "Question: Who built the mill?\nAnswer: Edda Stannis")])
    assert taught(TASK, asked) == [Example("Edda Stannis", "Who built the mill?")]
    assert read(TASK, asked).pieces == (("who", "built", "the", "mill"), ("edda", "stannis"))
    assert taught(TASK, find("passage-only").build(TASK.title, TASK.context, ())) == []
    assert taught(TASK, stated("The wheel is of larch.")) == [Example("The wheel is of larch.")]


def test_facts_are_counted_once() -> None:  # promise 1
    text = read(
        TASK, stated("The wheel is of larch.", "the wheel is of larch", "Edda Stannis built it in 1688.", "Edda Stannis built it in 1689.", "–")
    )
    assert (text.examples, text.facts) == (5, 3)  # another year is another fact; a dash says nothing


def test_overlap_by_hand() -> None:  # promise 2
    passage = tuple("abcdebc")
    assert fragments(tuple("bcxabcd"), passage) == [2, 4]
    assert overlap([tuple("bcxabcd")], passage) == (pytest.approx(6 / 7), pytest.approx((4 + 16) / 7))
    assert overlap([("b",), ("c",)], passage) == (1, 1)  # not one fragment of two
    assert overlap([("x", "y")], passage) == (0, 0) and overlap([], passage) is None
    assert fragments(("b", "c", "b"), passage) == [2, 1] and fragments(("e", "b", "c", "d"), passage) == [3, 1]
    assert copied([tuple("abcxy")], passage) == pytest.approx(1 / 3) and copied([("a", "b"), ("c",)], passage) is None


def test_diversity_by_hand() -> None:  # promise 3
    assert distinct([tuple("abab")]) == 2 / 4 and distinct([("a", "b"), ("a", "b"), ("c",)]) == 1 / 5
    assert distinct([("a", "a", "b")], 1) == 2 / 3 and distinct([]) is None
    one, other = frozenset({("a",), ("b",)}), frozenset({("b",), ("c",), ("d",)})
    assert jaccard(one, other) == 1 / 4 and jaccard(one, frozenset()) == 0 and jaccard(frozenset(), frozenset()) is None


def test_a_group_by_hand() -> None:  # promises 3, 4
    edits = [
        stated("p q r s", dropped=(Dropped("1.", "empty"),), completion="1. p q r s\n2. the end"),
        stated("p q r t"),
        stated("the mill was built by Ida"),
    ]
    earlier = [read(TASK, stated("p q r", "q r s")), read(TASK, stated("x y z"))]
    first, second, third = group(TASK, edits, earlier)
    assert first == {
        "written": 8,  # the numbers of the list are words of what was written
        "words": 4,
        "facts": 1,
        "coverage": 0,
        "density": 0,
        "copied": 0,
        "novelty": 0,  # both its trigrams were written before, in one self-edit
        "distinct": 3 / 4,
        "similarity": pytest.approx((1 / 3 + 0) / 2),
        "dropped": 1 / 2,
    }
    assert second["novelty"] == pytest.approx(1 - 1 / 3) and third["novelty"] == 1
    assert third["coverage"] == pytest.approx(5 / 6) and third["density"] == pytest.approx(25 / 6) and third["copied"] == 3 / 4
    assert [v["similarity"] for v in (first, second, third)] == [pytest.approx(1 / 6), pytest.approx(1 / 6), 0]  # mean over pairs: 1/9


def test_reasons() -> None:  # promise 4
    assert reason("the passage has no 'Tom'") == reason('the passage has no "Tom\'s"') == "the passage has no …"
    assert reason("beyond 30") == "beyond 30"
    assert shares(["b", "a", "a"]) == {"a": 2 / 3, "b": 1 / 3} and shares(["a"], 4) == {"a": 0.25} and shares([]) == {}


def test_what_cannot_be_measured() -> None:  # promise 5
    [empty] = group(TASK, [stated()])
    assert {name for name in PROPERTIES if empty[name] is not None} == {"written", "words", "facts"} and not any(empty.values())
    [alone] = group(TASK, [stated("The wheel is of larch.")])
    assert {name for name in PROPERTIES if alone[name] is None} == {"novelty", "similarity"}
    nothing, something = group(TASK, [stated(), stated("The wheel is of larch.")], [read(TASK, stated())])
    assert nothing["similarity"] == something["similarity"] == 0 and nothing["novelty"] is None and something["novelty"] == 1
    assert group(TASK, []) == []
    [all_dropped] = group(TASK, [stated(dropped=(Dropped("x", "empty"),))])
    assert all_dropped["dropped"] == 1


def values(**known: float) -> Values:
    return {name: known.get(name) for name in PROPERTIES}


def test_correlations_have_their_sign() -> None:  # promise 6
    chance = random.Random(0)
    rewards = [0.1, 0.5, 0.2, 0.9]

    def round_(shift: float) -> list[tuple[Values, float]]:
        return [(values(words=100 * r + shift, dropped=1 - r, facts=3, density=chance.random()), r + shift) for r in rewards]

    found = with_reward([[round_(0), round_(5)], [round_(1)]])
    assert found["words"] == [[pytest.approx(1)] * 2, [pytest.approx(1)]] and found["dropped"] == [[pytest.approx(-1)] * 2, [pytest.approx(-1)]]
    assert found["facts"] == [[], []] == found["coverage"]  # all equal, and not measured
    assert not any(with_reward([[[(values(words=n), 0.5) for n in range(3)]]])["words"])
    assert not with_reward([[[(values(words=1), 0.5)]]])["words"][0]


def test_rewards_that_differ() -> None:  # promise 6
    same, other = [(values(), 0.1 + 0.2), (values(), 0.3)], [(values(), 0.3), (values(), 0.4)]
    assert not differ([]) and not differ([[same], [same, same[:1]]]) and differ([[same], [same, other]])
