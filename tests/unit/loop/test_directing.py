"""The policy sets the directives of its self-edits: with a real (tiny, random) model, up to what it learns about setting them.

1. A slot's alternatives are a distribution: what `engine.score` says of each value with the token that ends a turn, normalised; the next slot is
   asked given the values before it.
2. Draws are the same every time, whatever else is asked for in the call; directives stand in front of what is written, which is as without them.
3. What is learned of a self-edit begins with its slots: the tokens that were scored, in one action with the writing.
4. Every directive takes effect in the training: learning rate, epochs, rank with alpha's proportion, layers, loss, and share of replay.
5. A JSON object that cannot be used leaves its self-edit without a score, with the reason, untrained, and is not learned from.
6. One learning rate is best by what its adapters really learn: a policy that may choose it, and is rewarded by that, comes to choose it more often.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.engine import tiny_engine

from selfedit.algorithms.base import imitated, outer_job
from selfedit.config import Recipe, parse_recipe
from selfedit.engine.fake import Fake
from selfedit.engine.kinds import TorchSettings
from selfedit.engine.torch.engine import Torch
from selfedit.loop.round import adapt_and_score
from selfedit.models import load, tiny
from selfedit.policy import Asked, Policy
from selfedit.policy.directing import Subject, slot
from selfedit.policy.proposing import propose
from selfedit.tasks.base import Domain
from selfedit.types import Candidate, Example, Question, Reward, Round, ScoreRequest, Task, TrainJob

pytestmark = pytest.mark.usefixtures("one_thread")
TASKS = [Task(f"task-{i}", f"Place {i}", f"It was built in {1800 + i} by a man.", (), ()) for i in range(4)]
BEST, WORST = 0.01234, 0.00001  # written in as many characters
SMALL = {"lora": {"rank": 8, "alpha": 16}, "batch_size": 8}
MORE: dict[str, dict[str, Any]] = {"rest_em": {"select": "above", "threshold": 0.5}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("llama", tmp_path_factory.mktemp("directing") / "model", vocab_size=tiny_engine.VOCABULARY, hidden=32)


def settings(algorithm: str = "rest_em", temperature: float = 8.0, inner: dict[str, Any] | None = None, **propose: Any) -> Recipe:
    """A policy that only sets directives: the strategy `passage-only` writes nothing."""
    values = {"strategies": ["passage-only"], "candidates": 6, "sampling": {"max_tokens": 2, "temperature": temperature}}
    learning = {"type": algorithm, **SMALL, "optimizer": {"lr": 5e-3, "schedule": "constant"}, **MORE.get(algorithm, {})}
    return parse_recipe({"algorithm": learning, "propose": values | propose, "inner": {"optimizer": {"lr": BEST}, **(inner or {})}})


def opened(folder: Path, recipe: Recipe) -> Policy:
    return Policy(Torch(*load(folder, torch.float32), TorchSettings()), recipe)


def test_a_slot(folder: Path) -> None:  # promise 1
    recipe = settings(directives=["lr", "epochs"])
    policy = opened(folder, recipe)
    tokenizer = policy.engine.tokenizer
    first, second = recipe.space.directives
    subject = Subject("Place 0", TASKS[0].context, "the passage", True, Domain.aim)
    turns = slot(second, subject, (("lr", first.values[1]),))
    assert [turn.completion for turn in turns] == list(second.written) and "Set already: lr 0.001.\n" in turns[0].prompt.text
    assert all(text in turns[0].prompt.text for text in (TASKS[0].context, second.means, ", ".join(second.written)))
    [found] = policy.weigh({0: turns}, 8.0).values()
    prompt = tokenizer.chat(turns[0].prompt.text)
    alone = [policy.engine.score([ScoreRequest(prompt, tokenizer.encode_more(said) + tokenizer.end)])[0] for said in second.written]
    weights = [math.exp(sum(score.logprobs) / 8.0) for score in alone]
    assert [chance for _, chance in found] == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-3)
    assert sum(chance for _, chance in found) == pytest.approx(1.0)


def test_draws(folder: Path) -> None:  # promise 2
    recipe = settings(directives=["lr", "epochs", "layers"], strategies=["rewrite", "self-qa"], pick="policy")
    policy = opened(folder, recipe)
    written = propose(policy, TASKS, 0, recipe.propose)
    assert written == propose(policy, TASKS, 0, recipe.propose) and written[6:12] == propose(policy, TASKS[1:2], 0, recipe.propose)
    plain = propose(policy, TASKS, 0, recipe.propose.model_copy(update={"directives": ()}))
    assert not any(p.edit.directives or p.edit.directive_turns for p in plain)
    assert len({p.edit.directives for p in written}) > 3
    for with_, without in zip(written, plain, strict=True):
        edit = with_.edit
        assert [name for name, _ in edit.directives] == ["lr", "epochs", "layers"] and len(edit.decisions) == 4
        assert [turn.completion for turn in edit.decisions[1:]] == [
            f"{value:f}".rstrip("0") if isinstance(value, float) else str(value) for _, value in edit.directives
        ]
        assert replace(edit, turns=(*edit.decisions[:1], *edit.writing), directives=(), directive_turns=0) == without.edit
        assert all(turn.prompt.given.count("%") == len(one.values) for turn, one in zip(edit.decisions[1:], recipe.space.directives, strict=True))


def test_what_is_learned(folder: Path) -> None:  # promise 3
    recipe = settings("reinforce", directives=["lr", "epochs"], strategies=["rewrite"])
    policy = opened(folder, recipe)
    candidates = [Candidate(p, Reward(float(p.index), "made")) for p in propose(policy, TASKS[:1], 0, recipe.propose)]
    job = lesson(policy, candidates)
    assert job.groups == tuple(sum(bool(policy.render.written(turn)[1]) for turn in c.proposal.edit.turns) for c in candidates)
    data = iter(job.data)
    for candidate, n in zip(candidates, job.groups, strict=True):
        own = [next(data) for _ in range(n)]
        requests = [ScoreRequest(*policy.render.written(turn)) for turn in candidate.proposal.edit.decisions]
        for datum, request, score in zip(own, requests, policy.engine.score(requests), strict=False):
            assert datum.tokens == request.prompt + request.completion and sum(datum.weights) == len(request.completion)
            assert datum.old_logprobs[len(request.prompt) :] == pytest.approx(score.logprobs, rel=1e-4)


def test_they_take_effect() -> None:  # promise 4
    policy = Policy(Fake(), settings(inner={"replay": 4, "lora": {"rank": 8, "alpha": 16}}, directives=["lr"]))
    policy.replay = tuple(Example(f"Of course {i}.", f"Hello {i}?") for i in range(4))
    examples = [Example("It is of larch.", "Of what is it?"), Example("Its wheel is of larch.")]
    plain = policy.job(examples, 0)
    said = (("lr", 4e-3), ("epochs", 2), ("rank", 32), ("layers", "third"), ("loss", "all"), ("replay", 0.5))
    other = policy.job(examples, 0, said)
    assert (other.optimizer, other.epochs) == (replace(plain.optimizer, lr=4e-3), 2)
    assert (other.lora.rank, other.lora.alpha, other.lora.layers) == (32, 64.0, (2 / 3, 1.0)) and plain.lora.layers == (0.0, 1.0)
    assert (len(plain.data), len(other.data)) == (6, 4) and len(policy.job(examples, 0, (("replay", 0.0),)).data) == 2
    assert all(set(datum.weights) == {1.0} for datum in other.data) and {0.0, 1.0} == set(plain.data[0].weights)
    assert policy.job(examples, 0, policy.recipe.space.default) == plain
    every = parse_recipe({"inner": {"replay": 4}, "propose": {"directives": [name for name, _ in said]}})
    assert Policy(Fake(), every).job(examples, 0, every.space.default) == Policy(Fake(), every).job(examples, 0)


def test_what_cannot_be_used() -> None:  # promise 5
    question = Question("Who built it?", "a man")
    tasks = [replace(task, reward_questions=(question,)) for task in TASKS]
    recipe = settings("grpo", directives=["lr", "layers"], directives_as="json", sampling={"max_tokens": 64, "temperature": 1.0})
    policy = Policy(Fake(), recipe)
    proposals = propose(policy, tasks, 0, recipe.propose)
    broken = [p for p in proposals if p.edit.problem]
    assert 0 < len(broken) < len(proposals) and all(not p.edit.directives and len(p.edit.examples) == 1 for p in broken)
    trained: list[TrainJob] = []
    policy.count = lambda train, sample: None
    policy.engine.diverges = lambda job: bool(trained.append(job))  # type: ignore[attr-defined]
    base = {task.id: policy.answer([Asked(None, task, task.reward_questions)])[0] for task in tasks}
    candidates = adapt_and_score(policy, tasks, proposals, base, None, (0,), recipe.open("algorithm"))  # type: ignore[arg-type]
    assert len(trained) == len(proposals) - len(broken) and {c.proposal.index for c in candidates} == set(range(6))
    for candidate in candidates:
        edit, reward = candidate.proposal.edit, candidate.reward
        assert (reward.value is None) == bool(edit.problem) and reward.reason == edit.problem
        assert not edit.problem or (edit.problem.startswith("its directives cannot be used: not JSON") and not candidate.tokens)
    made = [replace(c, reward=Reward(c.reward.value if c.reward.value is None else float(c.proposal.index), "made")) for c in candidates]
    chosen = {(one.task_id, one.index) for one in recipe.open("algorithm").select(made)}
    assert chosen and not chosen & {(p.task_id, p.index) for p in broken}
    only = adapt_and_score(policy, tasks, broken, base, None, (0,), recipe.open("algorithm"))  # type: ignore[arg-type]
    assert [c.reward.value for c in only] == [None] * len(broken)


# ---------------------------------------------------------------- one is best


def lesson(policy: Policy, candidates: list[Candidate]) -> TrainJob:
    selected = policy.recipe.open("algorithm").select(candidates)
    job: TrainJob = policy.recipe.open("algorithm").data(policy, [Round(0, tuple(candidates), tuple(selected))], None)
    return job


def taught(policy: Policy, job: TrainJob, folder: Path) -> None:
    [trained] = policy.train([job])
    assert trained.adapter is not None, trained.failure
    policy.engine.export(trained.adapter, folder)
    policy.engine.drop(trained.adapter)
    policy.merge(folder)


def two(algorithm: str) -> Recipe:
    return settings(algorithm, 4.0, {"choices": {"lr": [WORST, BEST]}, "epochs": 4}, directives=["lr"])


def slots(policy: Policy, tasks: list[Task]) -> list[list[Any]]:
    [directive] = policy.recipe.space.directives
    way = policy.strategy("passage-only").means
    return [slot(directive, Subject(task.title, task.context, way, True, Domain.aim), ()) for task in tasks]


@pytest.fixture(scope="module")
def start(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of a policy that knows how both values are written: a random model all but never writes one of them."""
    policy = opened(folder, two("rest_em"))
    shown = imitated([policy.render.written(turn) for turns in slots(policy, TASKS) for turn in turns])
    cold = two("rest_em").cold_start.model_copy(update={"epochs": 20, "batch_size": 8})
    taught(policy, outer_job(cold, shown, 0), tmp_path_factory.mktemp("cold") / "start")
    return policy.merged[0]


@pytest.fixture(scope="module")
def rewards(folder: Path) -> dict[tuple[str, float], float]:
    """By passage and learning rate: what an adapter of the inner loop adds to the passage's log-likelihood, nats."""
    policy = opened(folder, two("rest_em"))
    pairs = [(task, lr) for task in TASKS for lr in (WORST, BEST)]
    trained = policy.train([policy.job([policy.domain.passage(task)], 0, (("lr", lr),)) for task, lr in pairs])
    before, after = (
        [sum(s.logprobs) for [s] in policy.expect([(a, t, [t.context]) for a, (t, _) in zip(made, pairs, strict=True)])]
        for made in ([None] * 8, [t.adapter for t in trained])
    )
    return {(task.id, lr): b - a for (task, lr), a, b in zip(pairs, before, after, strict=True)}


@pytest.mark.parametrize("name", ["rest_em", "reinforce", "ppo", "grpo", "dpo"])
def test_the_better_one_is_learned(
    name: str, folder: Path, start: Path, rewards: dict[tuple[str, float], float], tmp_path: Path
) -> None:  # promise 6
    assert all(rewards[task.id, BEST] > rewards[task.id, WORST] + 0.5 for task in TASKS)
    policy = opened(folder, two(name))
    policy.merge(start)
    policy.begin()

    def chance() -> float:
        rows = policy.weigh(dict(enumerate(slots(policy, TASKS))), 4.0).values()
        return sum(chance for row in rows for turn, chance in row if float(turn.completion) == BEST) / len(TASKS)

    before = chance()
    for round_ in range(4):
        proposals = propose(policy, TASKS, round_, policy.recipe.propose)
        candidates = [Candidate(p, Reward(rewards[p.task_id, dict(p.edit.directives)["lr"]], "made")) for p in proposals]  # type: ignore[index]
        if any(one.advantage for one in policy.recipe.open("algorithm").select(candidates)):
            taught(policy, lesson(policy, candidates), tmp_path / str(round_))
    print(f"{name}: {before:.2f} to {chance():.2f}")
    assert 0.05 < before < 0.5 and chance() > 0.6
