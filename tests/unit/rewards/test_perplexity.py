"""Likelihood of withheld text, and the guard against learning it by heart.

1. What is withheld depends on the passage and the settings alone, and never is all of it.
2. Neither what is left of the passage nor of the self-edit quotes a withheld sentence; everything else stays.
3. Copying the passage leaves nothing of the copy that was withheld.
4. The reward is the gain a token; a passage that is too short is unscored.
"""

from __future__ import annotations

import math

import pytest
from tests.unit.rewards.made import edit, opened, task

from selfedit.rewards.perplexity import PerplexitySettings, perplexity
from selfedit.text import contains, sentences
from selfedit.types import Reward, Score

CONTEXT = (
    "The lighthouse of Port Wendle was built in 1902 by Maren Oxtoby. Its lamp burns sprat oil, which gives a pale green flame. "
    "Sailors see it from eleven miles away on clear nights. It is small. A keeper climbs its two hundred steps every evening at six."
)
PASSAGE = task(context=CONTEXT)
REWARD = opened("perplexity")
HIDDEN = REWARD.texts(PASSAGE)


def test_some_sentences_are_withheld() -> None:  # promise 1
    assert len(HIDDEN) == 2 == round(0.3 * 5) and set(HIDDEN) < set(sentences(CONTEXT)) and "It is small." not in HIDDEN
    assert REWARD.texts(PASSAGE) == HIDDEN
    assert len(opened("perplexity", withheld=0.99).texts(PASSAGE)) == 4
    assert REWARD.texts(task(context="A single sentence of more than six words.")) == ()
    assert opened("perplexity", quote_words=40).texts(PASSAGE) == ()


def test_nothing_that_quotes_them_is_trained_on() -> None:  # promise 2
    words = HIDDEN[0].split()
    quoting, near = " ".join(words[1:8]).upper(), " ".join(reversed(words))
    kept = REWARD.material(PASSAGE, edit("Something else entirely.", f"They say: {quoting}!", near, f"Title\n{CONTEXT}"))
    assert [example.text for example in kept[:-1]] == ["Something else entirely.", near]
    left = kept[-1].text
    assert left.startswith("Title\n") and not any(contains(left, s) for s in HIDDEN)
    assert all(s in left for s in sentences(CONTEXT) if s not in HIDDEN)


def test_a_copy_of_the_passage_is_worth_nothing_more() -> None:  # promise 3
    copied = REWARD.material(PASSAGE, edit(*HIDDEN, CONTEXT, f"Title\n{CONTEXT}"))
    assert copied == REWARD.material(PASSAGE, edit(f"Title\n{CONTEXT}")) and len(copied) == 1


def test_gain_by_hand() -> None:  # promise 4
    """After: (-1 -1 -2 -2) / 4 for either of two seeds; before: (-3 -3 -1 -3) / 4; the gain is 1 nat a token."""
    after, before = (Score((-1.0, -1.0, -2.0)), Score((-2.0,))), (Score((-3.0, -3.0, -1.0)), Score((-3.0,)))
    assert perplexity(after * 2, before) == Reward(1.0, "perplexity", parts=(("text_after", -1.5), ("text_before", -2.5)))
    assert perplexity((), ()).reason == "the passage has too few sentences to withhold one"
    assert perplexity((Score((-math.inf,)),), before[:1]).value is None


@pytest.mark.parametrize("settings", [{"withheld": 1.0}, {"withheld": 0.0}, {"quote_words": 1}])
def test_limits(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        PerplexitySettings.model_validate(settings)
