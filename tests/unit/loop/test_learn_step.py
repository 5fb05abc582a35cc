"""From chosen self-edits to a training job of the policy, with a real (tiny, random) model.

1. A turn is its prompt, not learned, and the very tokens that were drawn after it; where they are not known its text, with the token that ends a turn
   unless it was cut off. The turns of a self-edit are one action, the two sides of a pair too; a self-edit that wrote nothing is left out, and a pair
   with such a side.
2. Old log-probabilities are the current weights', reference log-probabilities the starting weights', whatever was merged; afterwards the
   weights are as they were, bit for bit.
3. After a cold start the reference is the policy that was shown good self-edits: what was merged later is undone, and no more.
4. On policy and before any merge the first step has ratio 1 and no divergence; after a merge it has one, and the same ratio.
5. PPO's weight of the divergence follows what the last update led to, measured of what was written since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engine import tiny_engine
from tests.unit.engine.tiny_engine import engine, loud, plain_logprobs, reference

from selfedit.algorithms.base import divergence
from selfedit.config import parse_recipe
from selfedit.policy import Policy
from selfedit.types import Candidate, Prompt, Proposal, Reward, Round, Selected, SelfEdit, TrainJob, Turn, Update


@pytest.fixture(autouse=True)
def folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    tiny_engine.ROOT = tmp_path_factory.getbasetemp() / "models"


def policy(algorithm: str, **settings: float) -> Policy:
    return Policy(engine("llama", torch.float64), parse_recipe({"algorithm": {"type": algorithm, **settings}}))


def wrote(task: str, index: int, *texts: str, finish: Any = "stop") -> Candidate:
    turns = tuple(Turn(Prompt(f"About {task}:", continued=True), text, finish) for text in texts)
    return Candidate(Proposal(task, 0, index, 0, SelfEdit("self-qa", turns, ())), Reward(0.0, "likelihood"))


CANDIDATES = [wrote("a", 0, "one two", "three"), wrote("a", 1, "four five six", finish="length"), wrote("b", 0), wrote("b", 1, "seven")]
KEPT = [Selected("a", 0, 0, 1.0), Selected("a", 0, 1, -1.0), Selected("b", 0, 0, 1.0), Selected("b", 0, 1, -1.0)]


def built(machine: Policy, before: Update | None = None, candidates: Sequence[Candidate] = CANDIDATES) -> TrainJob:
    job: TrainJob = machine.recipe.open("algorithm").data(machine, [Round(0, tuple(candidates), tuple(KEPT))], before)
    return job


def test_actions() -> None:  # promise 1
    grpo, dpo, sft = (built(policy(algorithm)) for algorithm in ("grpo", "dpo", "rest_em"))
    assert (grpo.loss, grpo.groups, len(grpo.data)) == ("grpo", (2, 1, 1), 4) and [d.advantage for d in grpo.data] == [1.0, 1.0, -1.0, -1.0]
    assert (dpo.loss, dpo.groups, len(dpo.data)) == ("dpo", (3,), 3) and dpo.loss_options == {"beta": 0.1}
    assert (sft.loss, sft.groups, len(sft.data)) == ("cross_entropy", (), 4)
    tokenizer = engine("llama").tokenizer
    prompt = tokenizer.encode("About a:")
    for data in (grpo.data, sft.data):
        assert data[0].tokens == prompt + tokenizer.encode_more("one two") + tokenizer.end
        assert data[2].tokens == prompt + tokenizer.encode_more("four five six")
        assert data[0].weights == (0.0,) * len(prompt) + (1.0,) * (len(data[0].tokens) - len(prompt))


def test_what_was_drawn_is_learned() -> None:  # promise 1
    """Ids that no tokenizer would give for the text; the end token is among them where it was drawn, and nowhere else."""
    tokenizer = engine("llama").tokenizer
    drawn = [(7, 9, 11), (8, 8, *tokenizer.end), (200, 201), (12, *tokenizer.end)]
    turns = [[Turn(Prompt("About it:", continued=True), "text", tokens=some) for some in each] for each in (drawn[:2], drawn[2:3], [], drawn[3:])]
    made = [replace(c, proposal=replace(c.proposal, edit=SelfEdit("self-qa", tuple(t), ()))) for c, t in zip(CANDIDATES, turns, strict=True)]
    for algorithm in ("grpo", "rest_em", "dpo"):
        found = [datum.tokens for datum in built(policy(algorithm), candidates=made).data]
        assert found == [tokenizer.encode("About it:") + some for some in (drawn[:3] if algorithm == "dpo" else drawn)]


def test_old_and_reference(tmp_path: Path) -> None:  # promise 2
    machine = policy("grpo")
    start = built(machine)
    assert all(d.old_logprobs == d.reference_logprobs for d in start.data)
    for number in range(2):
        machine.engine.export(loud(machine.engine, number), tmp_path / str(number))  # type: ignore[arg-type]
        machine.merge(tmp_path / str(number))
    weights = [layer.weight.clone() for layer in machine.engine.base.linears]  # type: ignore[attr-defined]
    later = built(machine)
    assert all(torch.equal(layer.weight, w) for layer, w in zip(machine.engine.base.linears, weights, strict=True))  # type: ignore[attr-defined]
    plain = reference("llama")
    for first, then in zip(start.data, later.data, strict=True):
        assert then.reference_logprobs == first.old_logprobs and then.old_logprobs != first.old_logprobs
        begin = first.weights.index(1.0)
        expected = plain_logprobs(plain, first.tokens[:begin], first.tokens[begin:])
        assert then.reference_logprobs[begin:] == pytest.approx(expected.tolist()) and not any(then.reference_logprobs[:begin])


def test_the_reference_after_a_cold_start(tmp_path: Path) -> None:  # promise 3
    machine = policy("grpo")
    cold = built(machine)
    for number in range(2):
        machine.engine.export(loud(machine.engine, number), tmp_path / str(number))  # type: ignore[arg-type]
    machine.merge(tmp_path / "0")
    machine.begin()
    start = built(machine)
    assert all(d.reference_logprobs == d.old_logprobs for d in start.data)
    assert all(d.old_logprobs != before.old_logprobs for d, before in zip(start.data, cold.data, strict=True))
    machine.merge(tmp_path / "1")
    later = built(machine)
    assert [d.reference_logprobs for d in later.data] == [d.old_logprobs for d in start.data]
    assert machine.merged == [tmp_path / "0", tmp_path / "1"]
    machine.reset()
    assert [d.old_logprobs for d in built(machine).data] == [d.old_logprobs for d in start.data]


def test_the_divergence_that_an_update_led_to(tmp_path: Path) -> None:  # promise 5
    """k3 of what was written since, under the policy that wrote it: nothing changed, and the weight is halved; a loud adapter, and it is doubled."""
    machine, before = policy("ppo", kl=0.1, kl_target=0.01), Update(0, "ppo", 2, 0, (1.0,), {"kl": 9.0, "kl_coefficient": 0.4})
    assert built(machine).loss_options["kl"] == 0.1 and built(machine, before).loss_options["kl"] == 0.2
    machine.engine.export(loud(machine.engine), tmp_path / "merged")  # type: ignore[arg-type]
    machine.merge(tmp_path / "merged")
    later = built(machine, before)
    assert later.loss_options["kl"] == 0.8
    [then] = machine.train([replace(later, batch_size=9)])
    assert divergence(later.data) == pytest.approx(then.metrics["kl"][0], rel=0.2)  # the loss's mean is over self-edits


def test_on_policy(tmp_path: Path) -> None:  # promise 4
    machine = policy("grpo")
    [first] = machine.train([built(machine)])
    assert first.metrics["ratio"][0] == pytest.approx(1.0) and first.metrics["kl"][0] == pytest.approx(0.0, abs=1e-12)
    machine.engine.export(loud(machine.engine), tmp_path / "merged")  # type: ignore[arg-type]
    machine.merge(tmp_path / "merged")
    [then] = machine.train([built(machine)])
    assert then.metrics["ratio"][0] == pytest.approx(1.0) and then.metrics["kl"][0] > 0.01
