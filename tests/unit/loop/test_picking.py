"""The policy picks strategies itself: with a real (tiny, random) model, up to what it learns about picking.

1. Chances are a distribution over all choices: what `engine.score` says of each name with the token that ends a turn, normalised.
2. Draws are the same every time, whatever else is asked for in the call; with a mix they are of different strategies.
3. A picked self-edit is the one that was given the same strategies, but for the turn in front; in turn, nothing is picked.
4. What is learned of the turn in front is what was scored: the same tokens, in the same action as the writing.
5. A policy that is rewarded for picking one of two strategies picks it more often, also for passages it never learned from.
6. Settings that fit no choice are refused, with what to do.
"""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engine import tiny_engine

from selfedit.algorithms.base import imitated, outer_job
from selfedit.config import Recipe, parse_recipe
from selfedit.engine.kinds import TorchSettings
from selfedit.engine.torch.engine import Torch
from selfedit.errors import ConfigError
from selfedit.models import load, tiny
from selfedit.policy import Policy
from selfedit.policy.proposing import propose
from selfedit.types import Candidate, Reward, Round, ScoreRequest, Selected, Task, TrainJob

pytestmark = pytest.mark.usefixtures("one_thread")
TASKS = [Task(f"task-{i}", f"Place {i}", f"It was built in {1800 + i} by a man.", (), ()) for i in range(4)]
OTHERS = [Task(f"other-{i}", f"Bridge {i}", f"A bridge of {i} arches.", (), ()) for i in range(2)]
THREE = ["self-qa", "rewrite", "passage-only"]
MORE: dict[str, dict[str, Any]] = {"rest_em": {"select": "above", "threshold": 0.5}}
SMALL = {"lora": {"rank": 8, "alpha": 16}, "batch_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("llama", tmp_path_factory.mktemp("picking") / "model", vocab_size=tiny_engine.VOCABULARY, hidden=32)


def settings(algorithm: str = "rest_em", **propose: Any) -> Recipe:
    values = {"strategies": THREE, "pick": "policy", "candidates": 3, "sampling": {"max_tokens": 2, "temperature": 1.0}}
    learning = {"type": algorithm, **SMALL, "optimizer": {"lr": 5e-3, "schedule": "constant"}, **MORE.get(algorithm, {})}
    cold = {**SMALL, "epochs": 30, "optimizer": {"lr": 1e-2}}
    return parse_recipe({"algorithm": learning, "cold_start": cold, "propose": values | propose})


def opened(folder: Path, recipe: Recipe) -> Policy:
    return Policy(Torch(*load(folder, torch.float32), TorchSettings()), recipe)


@pytest.mark.parametrize(("mix", "temperature"), [(1, 1.0), (2, 4.0)])
def test_the_distribution(folder: Path, mix: int, temperature: float) -> None:  # promise 1
    recipe = settings(mix=mix, sampling={"temperature": temperature})
    policy = opened(folder, recipe)
    tokenizer = policy.engine.tokenizer
    for task in TASKS[:2]:
        found = policy.preferences(TASKS, recipe.propose)[task.id]
        names = ["+".join(some) for some in combinations(THREE, mix)]
        assert [turn.completion for turn, _ in found] == names and sum(chance for _, chance in found) == pytest.approx(1.0)
        prompt = tokenizer.chat(found[0][0].prompt.text)
        alone = [policy.engine.score([ScoreRequest(prompt, tokenizer.encode_more(name) + tokenizer.end)])[0] for name in names]
        weights = [math.exp(sum(score.logprobs) / temperature) for score in alone]
        assert [chance for _, chance in found] == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-3)


def test_draws(folder: Path) -> None:  # promises 2 and 3
    recipe = settings(mix=2, candidates=6, sampling={"max_tokens": 2, "temperature": 8.0})
    policy = opened(folder, recipe)
    written = propose(policy, TASKS, 0, recipe.propose)
    assert written == propose(policy, TASKS, 0, recipe.propose) and written[6:12] == propose(policy, TASKS[1:2], 0, recipe.propose)
    names = [p.edit.strategy for p in written]
    assert len(set(names)) > 1 and all(len(set(name.split("+"))) == 2 for name in names)
    given = propose(policy, TASKS, 0, recipe.propose, given=names)
    for picked, same in zip(written, given, strict=True):
        front, *rest = picked.edit.turns
        assert front.completion == picked.edit.strategy and front.prompt.given.count("%") == 3
        assert (tuple(rest), picked.edit.examples, picked.edit.dropped) == (same.edit.turns, same.edit.examples, same.edit.dropped)
        assert picked.seed == same.seed and not any(picked.edit.strategy in example.text for example in picked.edit.examples)
    in_turn = recipe.propose.model_copy(update={"pick": "turns"})
    assert [p.edit.strategy for p in propose(policy, TASKS[:1], 0, in_turn)] == [
        "self-qa+rewrite",
        "self-qa+passage-only",
        "rewrite+passage-only",
    ] * 2
    with pytest.raises(ValueError, match="zip"):
        propose(policy, TASKS, 0, recipe.propose, given=names[1:])


def test_what_is_learned_of_a_choice(folder: Path) -> None:  # promise 4
    recipe = settings("reinforce", sampling={"max_tokens": 2, "temperature": 8.0})
    policy = opened(folder, recipe)
    candidates = [Candidate(p, Reward(float(p.index), "made")) for p in propose(policy, TASKS[:1], 0, recipe.propose)]
    learned = lesson(policy, candidates, recipe.open("algorithm").select(candidates))
    assert learned.groups == tuple(sum(bool(policy.render.written(turn)[1]) for turn in c.proposal.edit.turns) for c in candidates)
    firsts = [learned.data[sum(learned.groups[:i])] for i in range(3)]
    requests = [ScoreRequest(*policy.render.written(c.proposal.edit.turns[0])) for c in candidates]
    for datum, request, score in zip(firsts, requests, policy.engine.score(requests), strict=True):
        assert datum.tokens == request.prompt + request.completion and sum(datum.weights) == len(request.completion)
        assert datum.old_logprobs[len(request.prompt) :] == pytest.approx(score.logprobs, rel=1e-4)


def lesson(policy: Policy, candidates: list[Candidate], selected: list[Selected]) -> TrainJob:
    job: TrainJob = policy.recipe.open("algorithm").data(policy, [Round(0, tuple(candidates), tuple(selected))], None)
    return job


def taught(policy: Policy, job: TrainJob, folder: Path) -> None:
    [trained] = policy.train([job])
    assert trained.adapter is not None, trained.failure
    policy.engine.export(trained.adapter, folder)
    policy.engine.drop(trained.adapter)
    policy.merge(folder)


@pytest.fixture(scope="module")
def names_both(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of a policy that knows the names: a random model all but never writes one of them."""
    recipe = settings(strategies=["self-qa", "rewrite"])
    policy = opened(folder, recipe)
    turns = [turn for row in policy.preferences(TASKS, recipe.propose).values() for turn, _ in row]
    shown = imitated([policy.render.written(turn) for turn in turns])
    taught(policy, outer_job(recipe.cold_start, shown, policy.seed("cold start")), tmp_path_factory.mktemp("cold") / "start")
    return policy.merged[0]


@pytest.mark.parametrize("name", ["rest_em", "reinforce", "ppo", "grpo", "dpo"])
def test_picking_is_learned(name: str, folder: Path, names_both: Path, tmp_path: Path) -> None:  # promise 5
    recipe = settings(name, strategies=["self-qa", "rewrite"], candidates=6)
    policy, good = opened(folder, recipe), "self-qa"
    policy.merge(names_both)
    policy.begin()

    def chance() -> float:
        rows = policy.preferences(OTHERS, recipe.propose).values()
        return sum(chance for row in rows for turn, chance in row if turn.completion == good) / len(OTHERS)

    before = chance()
    for round_ in range(6):
        candidates = [Candidate(p, Reward(float(p.edit.strategy == good), "made")) for p in propose(policy, TASKS, round_, recipe.propose)]
        if selected := recipe.open("algorithm").select(candidates):
            taught(policy, lesson(policy, candidates, selected), tmp_path / str(round_))
    print(f"{name}: {before:.2f} to {chance():.2f}")
    assert 0.05 < before < 0.5 and chance() > before + 0.15


REFUSED = [
    ({"propose": {"pick": "policy"}}, "there is nothing to pick from: name several in propose.strategies"),
    ({"propose": {"strategies": ["self-qa", "rewrite"], "mix": 3}}, "propose.mix is 3: .* as many different strategies"),
    ({"propose": {"strategies": ["self-qa", "self-qa"], "mix": 2}}, "each once"),
    ({"propose": {"strategies": [f"s{i}" for i in range(12)], "mix": 2}}, "makes 66 combinations of 12 strategies; at most 64"),
    ({"propose": {"strategies": THREE, "pick": "policy"}, "algorithm": {"type": "bandit"}}, "algorithm bandit picks strategies itself"),
    ({"propose": {"strategies": ["self-qa+rewrite"]}, "algorithm": {"type": "archive"}}, "algorithm archive begins with single strategies"),
    ({"algorithm": {"type": "bandit"}, "prefilter": {"type": "gradient"}}, "algorithm bandit needs the reward of every self-edit"),
]


@pytest.mark.parametrize(("values", "said"), REFUSED)
def test_what_does_not_fit(values: dict[str, Any], said: str) -> None:  # promise 6
    with pytest.raises(ConfigError, match=said):
        parse_recipe(values)
