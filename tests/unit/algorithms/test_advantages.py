"""What each algorithm makes of the rewards of a group, worked by hand.

1. Leave-one-out, group-normalised (TRL's numbers too), Dr. GRPO, PPO's over the round, DPO's pairs, ReST-EM's threshold.
2. An unscored candidate, or one that a guard refused, is in no mean and learned from by none.
3. A group without variance, or of one, teaches nothing, and the update counts it.
4. The weight of the divergence: fixed, or PPO's doubling and halving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.unit.algorithms.test_rest_em import candidate

from selfedit.algorithms import Algorithm
from selfedit.algorithms.base import PolicyGradient
from selfedit.algorithms.ppo import control
from selfedit.config import check_learning, parse_recipe
from selfedit.engine.fake import Fake
from selfedit.errors import ConfigError, EngineError
from selfedit.loop.round import described
from selfedit.policy import Policy
from selfedit.types import Candidate, Prompt, Round, Selected, SelfEdit, Trained, Turn, Update

REWARDS: dict[str, list[float | None]] = {"a": [1.0, None, 0.0, 0.5], "b": [0.2, 0.2, 0.2], "c": [0.7], "d": [None, None], "e": [0.0, 1.0]}
GROUPS = [candidate(task, index, value) for task, values in REWARDS.items() for index, value in enumerate(values)]


def opened(name: str, **settings: Any) -> Algorithm:
    """The algorithm, bound to its settings."""
    found: Algorithm = parse_recipe({"algorithm": {"type": name, **settings}}).open("algorithm")
    return found


def gradient(name: str, **settings: Any) -> PolicyGradient:
    found = opened(name, **settings)
    assert isinstance(found, PolicyGradient)
    return found


def select(candidates: Sequence[Candidate], name: str, **settings: Any) -> list[Selected]:
    return opened(name, **settings).select(candidates)


def advantages(name: str, **settings: Any) -> dict[tuple[str, int], float]:
    return {(one.task_id, one.index): pytest.approx(one.advantage) for one in select(GROUPS, name, **settings)}


def test_leave_one_out() -> None:  # promises 1 to 3
    """a: 1 - (0 + 0.5) / 2, 0 - (1 + 0.5) / 2, 0.5 - (1 + 0) / 2. b has no variance, c and d nothing to compare."""
    assert advantages("reinforce") == {("a", 0): 0.75, ("a", 2): -0.75, ("a", 3): 0.0, ("e", 0): -1.0, ("e", 1): 1.0}


def test_normalised_within_the_group() -> None:  # promises 1 to 3
    """a: mean 0.5, standard deviation of 1, 0, 0.5 is 0.5; e: mean 0.5, standard deviation √½."""
    e = 0.5 / (0.5**0.5 + 1e-4)
    assert advantages("grpo") == {("a", 0): 0.5 / 0.5001, ("a", 2): -0.5 / 0.5001, ("a", 3): 0.0, ("e", 0): -e, ("e", 1): e}
    assert advantages("grpo", scale=False) == {("a", 0): 0.5, ("a", 2): -0.5, ("a", 3): 0.0, ("e", 0): -0.5, ("e", 1): 0.5}


def test_normalised_as_trl_does() -> None:  # promise 1
    from trl.trainer.utils import nanstd

    rewards = torch.tensor([[0.3, 0.9, 0.1, 0.35], [2.0, -1.0, 0.5, 0.25]], dtype=torch.float64)
    theirs = (rewards - rewards.mean(1, keepdim=True)) / (nanstd(rewards, dim=1)[:, None] + 1e-4)
    group = [candidate(str(row), index, value) for row, values in enumerate(rewards.tolist()) for index, value in enumerate(values)]
    assert [kept.advantage for kept in select(group, "grpo")] == pytest.approx(theirs.flatten().tolist(), rel=1e-6)


def test_ppo_scales_over_the_round() -> None:  # promise 1
    """Leave-one-out 0.75, -0.75, 0, -1, 1: the root of the mean square is √(3.125 / 5)."""
    scale = (3.125 / 5) ** 0.5
    assert advantages("ppo") == {("a", 0): 0.75 / scale, ("a", 2): -0.75 / scale, ("a", 3): 0.0, ("e", 0): -1 / scale, ("e", 1): 1 / scale}


def test_pairs() -> None:  # promises 1 to 3
    tied = [candidate("t", index, value) for index, value in enumerate([0.5, 0.1, 0.5, 0.1])]
    assert select(GROUPS, "dpo") == [Selected("a", 0, 0, 1.0), Selected("a", 0, 2, -1.0), Selected("e", 0, 1, 1.0), Selected("e", 0, 0, -1.0)]
    assert select(tied, "dpo") == [Selected("t", 0, 0, 1.0), Selected("t", 0, 1, -1.0)]


def test_pairs_differ_in_what_the_policy_chose_alone() -> None:  # promise 1
    """Strategies that it was given are asked by prompts of their own, and have a pair each; those that it picked itself are a part of what it did."""
    asked, names = Prompt("Which is best?", given="qa 50.0%, facts 50.0%"), ("qa", "facts", "qa", "facts")
    for picks, pairs in (False, [0, 2, 3, 1]), (True, [3, 2]):
        edits = [SelfEdit(name, (Turn(asked, name),) if picks else (), (), picked=picks) for name in names]
        group = [candidate("t", index, value, edit=edit) for index, (value, edit) in enumerate(zip([0.5, 0.2, 0.1, 0.9], edits, strict=True))]
        assert [kept.index for kept in select(group, "dpo")] == pairs
        assert [kept.advantage for kept in select(group, "dpo")] == [1.0, -1.0] * (len(pairs) // 2)
    with pytest.raises(ConfigError, match="pairs self-edits of one strategy"):
        check_learning(parse_recipe({"algorithm": {"type": "dpo"}, "propose": {"strategies": ["self-qa", "key-facts"], "candidates": 2}}))


def test_everything_above_a_threshold() -> None:  # promises 1 and 2
    assert select(GROUPS, "rest_em", select="above", threshold=0.2) == [
        Selected("a", 0, 0),
        Selected("a", 0, 3),
        Selected("c", 0, 0),
        Selected("e", 0, 1),
    ]
    assert select(GROUPS, "rest_em", keep=2)[:2] == [Selected("a", 0, 0), Selected("a", 0, 3)]


def test_the_best_lora_of_a_population() -> None:  # promises 1 and 2
    """Means 0.5, 0.6, 0.6, -; number 3 was not scored on b, where it would have won on a alone; 1 comes before 2."""
    rewards = {"a": [0.4, 0.2, 0.6, 1.0], "b": [0.6, 1.0, 0.6, None]}
    group = [candidate(task, index, value) for task, values in rewards.items() for index, value in enumerate(values)]
    assert select(group, "evolve") == [Selected("a", 0, 1), Selected("b", 0, 1)]
    assert select([candidate("a", 0, None)], "evolve") == []
    nobody = [candidate("z", index, None) for index in range(4)]  # a task that none could be scored on tells none apart
    assert select([*nobody, *group], "evolve") == [Selected("z", 0, 1), Selected("a", 0, 1), Selected("b", 0, 1)]


EVERY: list[dict[str, Any]] = [
    {"name": "rest_em", "keep": 9},
    {"name": "rest_em", "select": "above", "threshold": -9.0},
    *({"name": name} for name in ("reinforce", "ppo", "grpo", "dpo")),
]


@pytest.mark.parametrize("settings", EVERY, ids=lambda settings: settings["name"])
def test_refused_and_unscored_are_learned_from_by_none(settings: dict[str, Any]) -> None:  # promise 2
    group = [candidate("a", 0, 0.9, "accept", "reject"), candidate("a", 1, 0.5, "accept"), candidate("a", 2, None), candidate("a", 3, 0.1)]
    assert {kept.index for kept in select(group, **settings)} == {1, 3}
    if settings["name"] != "rest_em":
        assert sum(kept.advantage for kept in select(group, **settings)) == pytest.approx(0.0)


def of(candidates: Sequence[Candidate], selected: Sequence[Selected] = (), number: int = 0) -> Round:
    return Round(number, tuple(candidates), tuple(selected))


def test_an_update_counts_what_taught_nothing() -> None:  # promise 3
    trained = Trained(None, (0.5, 0.3), 10, metrics={"kl": (0.1, 0.3)})
    update = described(of(GROUPS, select(GROUPS, "grpo"), 1), "grpo", 0.04, trained)
    assert update == Update(1, "grpo", groups=4, skipped=2, losses=(0.5, 0.3), metrics={"kl": pytest.approx(0.2), "kl_coefficient": 0.04})
    assert described(of(GROUPS), "dpo", 0.0, None) == Update(0, "dpo", 4, 4)
    nobody = [candidate("z", 0, None), *GROUPS]  # evolve keeps the best LoRA's self-edits of such a task too
    assert described(of(nobody, [Selected(task, 0, 0) for task in "zabce"]), "evolve", 0.0, trained).skipped == 0
    with pytest.raises(EngineError, match="the prefilter could rate no self-edit"):
        described(of([]), "grpo", 0.0, None)
    assert described(of([candidate("a", 0, None), candidate("a", 1, None, "reject")]), "grpo", 0.0, None) == Update(0, "grpo", 0, 0)
    with pytest.raises(EngineError, match="no self-edit could be scored: every training failed"):
        described(of([candidate("a", 0, None, "reject")]), "grpo", 0.04, None)


def test_the_weight_of_the_divergence() -> None:  # promise 4
    assert [control(0.1, kl, 0.02) for kl in (0.04, 0.031, 0.03, 0.014, 0.013)] == [0.2, 0.2, 0.1, 0.1, 0.05]
    assert control(0.1, 5.0, 0.0) == 0.1

    before = Update(0, "", 1, 0, (0.5,), {"kl": 9.0, "kl_coefficient": 0.3})
    ppo = gradient("ppo", kl=0.1)
    assert [ppo.kl(before, kl) for kl in (1.0, 0.0, None)] == [0.6, 0.15, 0.3]
    assert ppo.kl(None, 0.0) == 0.1
    assert ppo.kl(replace(before, losses=()), 0.0) == 0.3  # nothing was done that could have led anywhere
    assert gradient("grpo", kl=0.2).kl(before, 9.0) == gradient("reinforce", kl=0.2).kl(None, None) == 0.2
    assert gradient("dpo").kl(None, None) == 0.0


def loss(kl: float, longest: int, name: str, **settings: Any) -> tuple[str, dict[str, float]]:
    algorithm = gradient(name, **settings)
    return algorithm.loss, algorithm.options(kl, longest)


def test_losses_of_the_recipe() -> None:  # promise 1
    shape = {"clip": 0.2, "clip_high": 0.28, "kl": 0.1, "max_tokens": 256.0}
    assert loss(0.1, 256, "grpo", normalise="constant", clip_high=0.28) == ("grpo", shape)
    assert loss(0.0, 9, "grpo", normalise="tokens")[1]["token_mean"] == 1.0
    assert loss(0.3, 9, "ppo", clip=0.1) == ("ppo", {"clip": 0.1, "clip_high": 0.1, "kl": 0.3})
    assert loss(0.3, 9, "reinforce") == ("reinforce", {"kl": 0.3}) and loss(0.0, 9, "dpo", beta=0.5) == ("dpo", {"beta": 0.5})
    recipe = parse_recipe({"algorithm": {"type": "rest_em"}, "engine": {"type": "fake"}})
    imitating = recipe.open("algorithm").data(Policy(Fake(), recipe), [of([])], None)
    assert (imitating.loss, imitating.loss_options) == ("cross_entropy", {})
