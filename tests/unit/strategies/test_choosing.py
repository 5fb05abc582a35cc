"""Choices of strategies as text: what is asked, what may be answered, how an answer is drawn, and what a mix is made of.

1. The question shows the passage and every strategy with its description, once; a base model continues a text, a chat model has a user's turn.
2. Chances by hand; at temperature 0 the likeliest; differences too large for exp are no error.
3. A draw depends on its seed alone, and goes by the chances; its prompt says what it was drawn from.
4. A mix has the examples of its strategies, each once, the passage once and last, and the turns in which it was chosen are no content.
"""

from __future__ import annotations

import math
from collections import Counter

import pytest

from selfedit.strategies import chances, choosing, drawn, find, joined, parts
from selfedit.types import Dropped, Example, Prompt, Turn

TITLE, CONTEXT = "Corve Mill", "Corve Mill was built by Edda Stannis in 1688. {x} Its wheel is made of larch."
PASSAGE = Example(f"{TITLE}\n{CONTEXT}")


@pytest.mark.parametrize("chat", [True, False])
def test_what_is_asked(chat: bool) -> None:  # promise 1
    singles = choosing(("self-qa", "key-facts"), TITLE, CONTEXT, chat)
    pairs = choosing(("self-qa+key-facts", "self-qa+rewrite"), TITLE, CONTEXT, chat)
    for turns, names in ((singles, ("self-qa", "key-facts")), (pairs, ("self-qa", "key-facts", "rewrite"))):
        [prompt] = {turn.prompt for turn in turns}
        assert prompt.continued != chat and f"Passage:\n{TITLE}\n{CONTEXT}\n\n" in prompt.text and {turn.finish_reason for turn in turns} == {"stop"}
        assert all(prompt.text.count(f"- {name}: {find(name).means}\n") == 1 for name in names) and prompt.text.count("\n- ") == len(names)
    assert [turn.completion.strip() for turn in singles] == ["self-qa", "key-facts"]
    assert pairs[1].completion == ("self-qa+rewrite" if chat else " self-qa+rewrite")
    assert ("joined by +" in pairs[0].prompt.text) and "+" not in singles[0].prompt.text


def test_chances_by_hand() -> None:  # promise 2
    two, six = math.log(2), math.log(6)
    assert chances([two, six], 1.0) == pytest.approx([1 / 4, 3 / 4])
    assert chances([two, six], 0.5) == pytest.approx([1 / 10, 9 / 10])  # squares
    assert chances([-3.0, -1.0, -1.0], 0.0) == [0.0, 1.0, 0.0]
    assert chances([-2000.0, -1.0], 0.01) == [0.0, 1.0] and chances([-900.0], 1.0) == [1.0]


def test_a_draw() -> None:  # promise 3
    turns = choosing(("self-qa", "key-facts", "rewrite"), TITLE, CONTEXT, chat=True)
    preferences = list(zip(turns, [0.2, 0.7, 0.1], strict=True))
    picked = [drawn(preferences, seed) for seed in range(1000)]
    assert picked == [drawn(preferences, seed) for seed in range(1000)]
    counts = Counter(turn.completion for turn in picked)
    assert abs(counts["key-facts"] - 700) < 60 and abs(counts["rewrite"] - 100) < 40
    assert {turn.prompt.given for turn in picked} == {"key-facts 70.0%, self-qa 20.0%, rewrite 10.0%"}
    assert {turn.prompt.text for turn in picked} == {turns[0].prompt.text}


def test_a_mix() -> None:  # promise 4
    assert parts("self-qa+key-facts") == ("self-qa", "key-facts") and parts("rewrite") == ("rewrite",) and parts("rewrite+rewrite") == ("rewrite",)
    chosen = Turn(Prompt("Which?"), "key-facts+rewrite")
    facts = Turn(Prompt(""), "1. Corve Mill was built in 1688.\n2. The wheel of Corve Mill is of larch.\n---")
    other = Turn(Prompt(""), "The wheel of Corve Mill is of larch.\nEdda Stannis built Corve Mill.")
    edits = [find(name).build(TITLE, CONTEXT, [turn]) for name, turn in (("key-facts", facts), ("rewrite", other))]
    mixed = joined("key-facts+rewrite", (chosen,), edits)
    assert (mixed.strategy, mixed.turns) == ("key-facts+rewrite", (chosen, facts, other)) and mixed.dropped == (Dropped("---", "formatting"),)
    said = ["Corve Mill was built in 1688.", "The wheel of Corve Mill is of larch.", "Edda Stannis built Corve Mill."]
    assert mixed.examples == (*(Example(f"{TITLE}\n{text}") for text in said), PASSAGE)
    assert mixed.pick == chosen and mixed.writing == (facts, other)
    assert joined("key-facts", (), edits[:1]) == edits[0] and not edits[0].pick
