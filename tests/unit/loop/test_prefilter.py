"""Cheaper rounds.

1. Successive halving trains all for the epochs of the first rung, the better half for those of the next, and leaves `keep`; each rung is a whole
   training.
2. Only survivors get a reward, ratings of all are in the ledger, and a resumed run ends with the same content.
3. Early stop rewards all after fewer epochs; what was kept is trained in full.
4. In context, the self-edit's own examples are in view and the passage is not; nothing is trained.
5. What cannot be rated does not survive.
6. Settings of one prefilter are refused for another, and fewer survivors than the algorithm learns from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.loop.house import Silent

from selfedit.config import Recipe, check_learning, parse_recipe
from selfedit.engine.fake import Fake
from selfedit.errors import ConfigError
from selfedit.ledger import Ledger, Reader
from selfedit.loop import Run, learn_documents
from selfedit.loop.prefilter import best
from selfedit.policy import Policy
from selfedit.prefilters.in_context import in_view
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Example, Progress, Proposal, Rating, SelfEdit, Task, Trained, TrainJob

MIXED = ("passage-only", "self-qa", "key-facts", "span-qa")
SELECTIVE = ("halving", "gradient", "in_context")


class Watched(Fake):
    """Remembers the epochs of every job."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.epochs: list[int] = []

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        self.epochs += [job.epochs for job in jobs]
        return super().train(jobs, progress)


def recipe(prefilter: Mapping[str, Any], reward: str = "likelihood") -> Recipe:
    values = {"prefilter": prefilter, "engine": {"type": "fake"}, "reward": {"type": reward}}
    return parse_recipe(values | {"propose": {"candidates": 4, "strategies": MIXED}, "chunk": 5, "inner": {"epochs": 6}})


def learn(folder: Path, prefilter: Mapping[str, Any], engine: Fake | None = None, reward: str = "likelihood") -> Fake:
    settings, engine = recipe(prefilter, reward), engine or Watched()
    with Ledger.create(folder, command="learn", recipe=settings, environment={}) as ledger:
        learn_documents(Run(Policy(engine, settings), ledger, Silent()), bundled_corpus("heldout")[:3])
        ledger.finish()
    return engine


def test_successive_halving(tmp_path: Path) -> None:  # promises 1, 2
    engine = learn(tmp_path / "run", {"type": "halving", "rungs": (1, 3), "keep": 1})
    assert isinstance(engine, Watched)
    assert engine.epochs[:-6] == [1] * 12 + [3] * 6 + [6] * 3  # 3 tasks of 4, of 2, of 1; then two baselines; the last three are kept
    with Reader(tmp_path / "run") as reader:
        ratings, candidates, kept = reader.ratings(), reader.candidates(), reader.selected()
        assert [step.name for step in reader.steps() if "halving" in step.name] == [
            f"round-0/halving-{r}" for r in ("0-0", "0-1", "0-2", "1-0", "1-1")
        ]
        assert len(reader.proposals()) == 12
    for task_id in {r.task_id for r in ratings}:
        first = {r.index: r.value for r in ratings if r.task_id == task_id and r.rung == 0}
        second = {r.index: r.value for r in ratings if r.task_id == task_id and r.rung == 1}
        assert len(first) == 4 and set(second) == set(sorted(first, key=lambda i: (-(first[i] or 0), i))[:2])
        [survivor] = [c.proposal.index for c in candidates if c.proposal.task_id == task_id]
        assert survivor == max(second, key=lambda i: (second[i] or 0, -i)) and [k.index for k in kept if k.task_id == task_id] == [survivor]


@pytest.mark.parametrize("name", [*SELECTIVE, "early_stop"])
def test_resumed_is_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:  # promise 2
    learn(tmp_path / "whole", {"type": name})
    monkeypatch.setattr("selfedit.algorithms.rest_em.RestEM.select", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "cut", {"type": name})
    monkeypatch.undo()
    with Ledger.open(tmp_path / "cut") as ledger:
        learn_documents(Run(Policy(Watched(), ledger.recipe), ledger, Silent()), bundled_corpus("heldout")[:3])
        ledger.finish()
    with Reader(tmp_path / "whole") as whole, Reader(tmp_path / "cut") as cut:
        assert whole.content_hash() == cut.content_hash()
        assert len(whole.candidates()) == (12 if name == "early_stop" else 6)
        assert {r.prefilter for r in whole.ratings()} == (set() if name == "early_stop" else {name})


def test_early_stop_is_a_short_training(tmp_path: Path) -> None:  # promise 3
    engine = learn(tmp_path / "run", {"type": "early_stop", "epochs": 2})
    assert isinstance(engine, Watched) and engine.epochs[:12] == [2] * 12 and engine.epochs[12] == 6


def test_in_context_shows_the_edit_alone(tmp_path: Path) -> None:  # promise 4
    engine = learn(tmp_path / "run", {"type": "in_context", "keep": 1})
    assert isinstance(engine, Watched) and len(engine.epochs) == 3 + 6
    policy, task = Policy(engine, recipe({"type": "in_context"})), Task("t", "Corve Mill", "Corve Mill was built in 1688.")
    made = [
        Example("1688", "Topic: Corve Mill\nWhen was it built?"),
        Example("It has a wheel."),
        Example("Corve Mill\nCorve Mill was built in 1688."),
    ]
    proposal = Proposal("t", 0, 0, 1, SelfEdit("self-qa", (), tuple(made)))
    assert in_view(policy, task, proposal) == "Topic: Corve Mill\nWhen was it built? 1688\nIt has a wheel."
    long = replace(proposal, edit=SelfEdit("self-qa", (), (made[0], Example("word " * 5000), made[1])))
    assert in_view(policy, task, long) == "Topic: Corve Mill\nWhen was it built? 1688"
    shown = policy.engine.tokenizer.decode(policy.question("Corve Mill", "How old is it?", "A fact."))
    assert shown == "A fact.\n\nTopic: Corve Mill\nHow old is it?"


@pytest.mark.parametrize("name", SELECTIVE)
def test_a_choice_is_rated_as_a_choice(tmp_path: Path, name: str) -> None:
    learn(tmp_path / "run", {"type": name}, reward="choice")
    with Reader(tmp_path / "run") as reader:
        ratings = [rating.value for rating in reader.ratings()]
    assert ratings and all(value is not None and 0 <= value <= 1 for value in ratings) and len(set(ratings)) > 1


def test_what_cannot_be_rated_does_not_survive(tmp_path: Path) -> None:  # promise 5
    engine = learn(
        tmp_path / "run", {"type": "halving", "rungs": (1,), "keep": 3}, Watched(diverges=lambda job: job.epochs == 1 and len(job.data) == 1)
    )
    with Reader(tmp_path / "run") as reader:
        unrated = {(r.task_id, r.index) for r in reader.ratings() if r.value is None}
        assert unrated and not unrated & {(c.proposal.task_id, c.proposal.index) for c in reader.candidates()}
    proposals = [Proposal("t", 0, i, i, SelfEdit("self-qa", (), ())) for i in range(4)]
    ratings = [Rating("t", 0, i, "halving", 0, v) for i, v in enumerate((0.2, None, 0.2, 0.9))]
    assert [p.index for p in best(proposals, ratings, 2)] == [0, 3]
    assert [p.index for p in best(proposals, [*ratings, Rating("t", 0, 2, "halving", 1, -5.0)], 2)] == [2, 3]  # a later rung is ahead
    assert isinstance(engine, Watched)


def test_settings_that_do_not_fit() -> None:  # promise 6
    for prefilter, said in (
        ({"type": "in_context", "keep": 3}, "nothing would be left out"),
        ({"type": "early_stop", "epochs": 6}, "trains for 6 epochs, and inner.epochs is 6"),
        ({"type": "halving", "rungs": [1, 9]}, "trains for 9 epochs, and inner.epochs is 6"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_learning(parse_recipe({"prefilter": prefilter}))
    with pytest.raises(ConfigError, match=r"prefilter.rungs: rungs are epochs, at least 1, each more than the one before"):
        parse_recipe({"prefilter": {"type": "halving", "rungs": [2, 1]}})
    with pytest.raises(ConfigError, match=r"prefilter.rungs is no setting of gradient, which has .*keep, measure"):
        parse_recipe({"prefilter": {"type": "gradient", "rungs": [1]}})
    with pytest.raises(ConfigError, match=r"prefilter.keep is 1, too few for algorithm rest_em: it learns from at least 2 of a task"):
        parse_recipe({"prefilter": {"type": "halving", "keep": 1}, "algorithm": {"type": "rest_em", "keep": 2}})
    with pytest.raises(ConfigError, match=r"prefilter\.type gradient rates by right answers, and reward majority goes by none"):
        parse_recipe({"prefilter": {"type": "gradient"}, "reward": {"type": "majority"}})
    with pytest.raises(ConfigError, match=r"prefilter.keep is 1, too few for algorithm grpo"):
        parse_recipe({"prefilter": {"type": "in_context", "keep": 1}, "algorithm": {"type": "grpo"}})
    with pytest.raises(ConfigError, match="algorithm evolve trains whole populations"):
        parse_recipe({"prefilter": {"type": "early_stop"}, "algorithm": {"type": "evolve"}})
    with pytest.raises(ConfigError, match="archive tries out numbers of epochs itself"):
        parse_recipe({"prefilter": {"type": "early_stop"}, "algorithm": {"type": "archive"}})
    with pytest.raises(ConfigError, match=r"reliability.prefilters: unknown prefilter 'luck'; the nearest is '"):
        parse_recipe({"reliability": {"prefilters": ["luck"]}})
