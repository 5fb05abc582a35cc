"""`novelty`: self-edits that say nothing, or nothing new.

1. Repeated words, and a sentence said over and over, are rejected; short self-edits are not, nor passages of the bundled corpus with their questions.
2. Questions with the same answer, and answers that stand twice, are no repetition.
3. An earlier self-edit of the task counts where the recipe sets a limit; other tasks' never do, and a copy is allowed otherwise.
4. The loop shows a guard the self-edit, and those of its task before it.
"""

from __future__ import annotations

import pytest

from selfedit.guards import CandidateSeen
from selfedit.guards.novelty import Novelty, NoveltySettings, compression, distinct, novelty, similarity
from selfedit.loop.round import Adapted, _seen
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Adapter, Example, Proposal, SelfEdit, Trained

LIMITS = NoveltySettings()
SENTENCES = (
    "Odwin Marrack builds his keels from pear wood.",
    "He was born at Pellan Cove, the only son of a candle maker.",
    "His first boat was a ferry named the Sulky Goose.",
    "He has drawn every plan with his left hand since he lost two fingers.",
)


def edit(*texts: str) -> SelfEdit:
    return SelfEdit("rewrite", (), tuple(Example(text) for text in texts))


@pytest.mark.parametrize("text", ["mill " * 40, "the mill " * 30, "The mill was built in 1802 by the river. " * 12, "1. yes\n" * 60])
def test_loops(text: str) -> None:  # promise 1
    verdict = novelty(edit(text), (), LIMITS)
    assert verdict.decision == "reject" and verdict.reason.endswith("it repeats itself")


def test_what_is_no_loop() -> None:  # promise 1
    assert novelty(edit("No. No. No."), (), LIMITS).decision == "accept"
    assert novelty(edit(), (), LIMITS).decision == "accept"
    assert novelty(edit(*SENTENCES), (), LIMITS).decision == "accept"


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_corpus_is_let_through(split: str) -> None:  # promise 1
    for passage in bundled_corpus(split):  # type: ignore[arg-type]
        asked = [Example(question.answer, question.question) for question in passage.questions]
        verdict = novelty(SelfEdit("x", (), (Example(passage.context), *asked)), (), LIMITS)
        assert verdict.decision == "accept", passage.title


def test_the_same_answer_twice_is_no_repetition() -> None:  # promise 2
    pairs = tuple(Example(SENTENCES[0], f"{how} {what}?") for how in ("Of what", "From which wood") for what in ("are the keels", "does he build"))
    assert novelty(SelfEdit("x", (), pairs * 9), (), LIMITS).decision == "accept"


def test_copies() -> None:  # promise 3
    one, other = edit(*SENTENCES), edit(*SENTENCES[:3], "He is married to a baker from Orrin.")
    strict = NoveltySettings(max_similar=0.5)
    assert similarity(one, one) == 1.0 and 0.4 < similarity(one, other) < 0.9 and similarity(edit(), edit("a")) == 0.0
    assert novelty(one, [one], LIMITS).decision == "accept"
    assert novelty(one, [edit("Something else was said here."), one], strict).decision == "reject"
    assert novelty(one, [edit("Something else was said here.")], strict).decision == "accept"


def test_figures_by_hand() -> None:
    assert distinct(["a b a b"]) == pytest.approx(2 / 3) and distinct([]) == distinct(["one"]) == 1.0
    assert compression([]) == 1.0 and compression(["x" * 1000]) < 0.05 and compression(["x"]) == 1.0


def test_what_a_guard_sees() -> None:  # promise 4
    trained = (Trained(Adapter("a"), (1.0,), 1),)
    edits = [edit(text) for text in "abc"]
    adapted = [Adapted(Proposal(task, 0, n, 0, one), trained) for n, (task, one) in enumerate(zip("sts", edits, strict=True))]
    first, other, second = _seen(adapted)
    assert [one.edit for one in (first, other, second)] == edits
    assert (first.earlier, other.earlier, second.earlier) == ((), (), (edits[0],))
    assert Novelty(LIMITS).verdict(CandidateSeen(trained)) is None
