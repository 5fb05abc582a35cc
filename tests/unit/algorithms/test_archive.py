"""The archive search: who becomes a parent, what a child may say, and what it cannot reach.

1. The chances of parents, worked by hand.
2. A child is read strictly: each setting once, within its bounds, nothing else; what it leaves out is its parent's.
3. Using a child changes the strategy of the recipe and, of its own self-edits' trainings, epochs and learning rate, and nothing else; its prompt is
   never a template.
4. Every strategy stays in the ledger with what the model wrote; one with a problem is not evaluated.
5. The search finds a better strategy than the one it began with, over three seeds; the report shows it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from tests.unit.algorithms.house import recipe, train

from selfedit.algorithms.archive import Entry, ask, chances, read
from selfedit.engine.fake import Fake
from selfedit.ledger import Reader
from selfedit.policy import Policy
from selfedit.policy.proposing import propose
from selfedit.report import write
from selfedit.strategies import Source
from selfedit.strategies.written import Written
from selfedit.types import Prompt, Task, Turn, Variant

ROOT = Variant(0, None, "self-qa", "questions and short answers", "questions", 1, 6, 2e-3)


def test_chances_by_hand() -> None:  # promise 1
    """λ = ln 3 / 0.1, midpoint 0.5: sigmoids 1/2, 3/4, 1/4. The first has two scored children, so 1/6, 3/4, 1/4, of 7/6 in all."""
    child = replace(ROOT, parent=0)
    archive = [Entry(ROOT, 0.5), Entry(replace(child, number=1), 0.6), Entry(replace(child, number=2), 0.4), Entry(replace(child, number=3), None)]
    assert chances(archive, 10.986122886681098, 0.5) == pytest.approx([1 / 7, 9 / 14, 3 / 14, 0.0])
    far = [Entry(ROOT, -1e6), Entry(replace(ROOT, number=1), -1e6), Entry(replace(ROOT, number=2), 1e6)]  # rewards of any scale
    assert chances(far, 10.0, 0.5)[2] > 0.999 and chances(far[:2], 10.0, 0.5) == pytest.approx([0.5, 0.5])
    with pytest.raises(ValueError, match="no strategy could be scored"):
        chances([Entry(ROOT, None)], 10.0, 0.5)


def child(text: str, finish: Any = "stop") -> Variant:
    return read(Turn(Prompt(""), text, finish), 7, ROOT)


def test_a_child_is_read() -> None:  # promise 2
    told = " Ask about every name.\nFormat: statements\nSamples: 3\nEpochs: 12\nLearning rate: 1e-3\n\nPrompt: another"
    assert child(told) == Variant(7, 0, "variant-7", "Ask about every name.", "statements", 3, 12, 1e-3, told)
    assert child("Ask about every name.\nEpochs: 2") == Variant(
        7, 0, "variant-7", "Ask about every name.", "questions", 1, 2, 2e-3, "Ask about every name.\nEpochs: 2"
    )
    assert child("Ask about every name.\nEpochs: 1", "length").epochs == 6  # 1 may have been 12


BAD = {
    "short": "10 to 600 printable characters",
    "x" * 601: "10 to 600 printable characters",
    "A prompt with a \x1b[31m colour": "printable",
    "A good prompt.\nFormat: python": "statements or questions",
    "A good prompt.\nSamples: 5": "Samples is a whole number from 1 to 4",
    "A good prompt.\nSamples: -1": "Samples is a whole number",
    "A good prompt.\nEpochs: 1_0": "Epochs is a whole number",
    "A good prompt.\nEpochs: \u0663": "Epochs is a whole number",
    "A good prompt.\nLearning rate: 1e9": "Learning rate is a number",
    "A good prompt.\nLearning rate: nan": "Learning rate is a number",
    "A good prompt.\nEpochs: 3\nEpochs: 4": "Epochs is said twice",
    "A good prompt.\nReward: 1.0": "not a setting: 'Reward: 1.0'",
    "A good prompt.\nJudge: always say yes": "not a setting",
    "": "not a setting",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_child_says_why(text: str) -> None:  # promise 2
    found = child(text)
    assert BAD[text] in found.problem and found.written == text
    assert replace(found, written="", problem="", number=0, parent=None, strategy="self-qa") == ROOT


def test_what_a_child_can_reach() -> None:  # promise 3
    settings = recipe({"type": "archive"})
    policy = Policy(Fake(), settings)
    wild = child("{context.__class__} %s {0} ignore the questions\nFormat: statements\nSamples: 2\nEpochs: 20\nLearning rate: 0.01")
    changed = policy.writing_as(wild)
    narrowed = changed.recipe.propose.model_copy(update={"strategies": settings.propose.strategies})
    assert changed.recipe != settings and changed.recipe.model_copy(update={"propose": narrowed}) == settings and policy.recipe == settings
    [written, *_] = propose(changed, [Task("t", "T", "Some context.", (), ())], 0, changed.recipe.propose)
    assert written.edit.strategy == wild.strategy and len(written.edit.turns) == 2
    plain, own = (changed.job(written.edit.examples, 0, directives) for directives in ((), written.edit.directives))
    assert own == replace(plain, epochs=20, optimizer=replace(plain.optimizer, lr=0.01)) != plain == policy.job(written.edit.examples, 0)
    strategy = Written(wild)
    for chat in (True, False):
        asked = strategy.ask(Source("T", "Some context.", chat))
        assert len(asked) == 2 and asked[0].text.startswith("{context.__class__} %s {0} ignore the questions\n\nPassage:\nT\nSome context.")
    edit = strategy.build("T", "Some context.", [Turn(asked[0], "1. The first thing is here."), Turn(asked[1], "1. The second thing is here.")])
    assert [example.text for example in edit.examples] == ["T\nThe first thing is here.", "T\nThe second thing is here.", "T\nSome context."]


def test_the_model_sees_its_parent() -> None:
    text = ask(Entry(ROOT, 0.25)).text
    assert text.endswith(
        "Prompt: questions and short answers\nFormat: questions\nSamples: 1\nEpochs: 6\nLearning rate: 0.002\nScore: 0.250\nBetter:\nPrompt:"
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_better_strategy_is_found(seed: int, tmp_path: Path) -> None:  # promises 4 and 5
    propose = {"strategies": ["passage-only"], "candidates": 2}
    train(tmp_path / "run", recipe({"type": "archive"}, propose=propose, rounds=6, seed=seed, limit=6))
    with Reader(tmp_path / "run") as reader:
        variants, evaluated = reader.variants(), {c.proposal.round for c in reader.candidates()}
        untrained, best = (fmean(a.gold_logprob or 0.0 for r in reader.results(row) for a in r.answers) for row in ("untrained", "best_strategy"))
    assert [v.number for v in variants] == list(range(7)) and variants[0].parent is None
    assert evaluated == {v.number for v in variants if not v.problem} and len(evaluated) > 2
    assert all(v.parent is not None and v.parent in evaluated and v.parent < v.number and v.written for v in variants[1:])
    assert best > untrained + 0.05  # nats a token, on documents and questions that the search never saw
    page = write(tmp_path / "run").read_text(encoding="utf-8")
    assert 'id="archive"' in page and "Best strategy found" in page
