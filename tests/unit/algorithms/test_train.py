"""Whole runs of `train` with each algorithm, on the fake engine.

1. Every round records its update: groups, those that taught nothing, losses, and the metrics of its loss; what was kept carries its advantage.
2. A run that is killed while any step is computed, and taken up by a fresh process, ends with the same content.
3. Where no group has variance the policy stays as it is, and the run goes on and says so.
4. `evolve` trains one LoRA a number, keeps the data of the best, improves from round to round, and ends with one adapter on all that was kept,
   trained and merged where its rounds began.
5. Wrong settings are one line that names the algorithm and what it has.
6. What a cold start taught stays: rounds begin with it, and nothing undoes it.
7. With `round_passages` each round has passages of its own until all were used.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.algorithms.house import recipe, train, trained

from selfedit.config import parse_recipe
from selfedit.engine.fake import Fake
from selfedit.errors import ConfigError
from selfedit.ledger import Reader
from selfedit.loop.run import of_round
from selfedit.policy import Policy
from selfedit.report import write
from selfedit.store.artifacts import rounds_of
from selfedit.types import Task

POLICY_GRADIENT = ("reinforce", "ppo", "grpo", "dpo")
ALGORITHMS = ("rest_em", "evolve", *POLICY_GRADIENT)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_round_records_its_update(name: str, tmp_path: Path) -> None:  # promise 1
    train(tmp_path / "run", recipe({"type": name}))
    with Reader(tmp_path / "run") as reader:
        updates, kept, artifacts = reader.updates(), reader.selected(), [artifact.path for artifact in reader.artifacts()]
        steps = [step.name for step in reader.steps()]
    assert [(update.round, update.algorithm) for update in updates] == [(0, name), (1, name)] and artifacts == ["policy/round-1", "policy/round-2"]
    assert steps.index("round-0/kept") + 1 == steps.index("round-0/update") == steps.index("round-0/policy") - 1
    for update in updates:
        assert update.groups == 3 and update.losses and 0 <= update.skipped < 3
        assert ("kl" in update.metrics) == (name in POLICY_GRADIENT) and ("clip_fraction" in update.metrics) == (name in ("ppo", "grpo"))
    assert all(one.advantage == 1.0 for one in kept) if name not in POLICY_GRADIENT else abs(sum(one.advantage for one in kept)) < 1e-9
    page = write(tmp_path / "run").read_text(encoding="utf-8")
    assert 'id="updates"' in page and f"<td>{name}</td>" in page


@pytest.mark.parametrize("name", (*ALGORITHMS, "archive", "bandit"))
def test_killed_anywhere_and_resumed(name: str, tmp_path: Path) -> None:  # promise 2
    settings = recipe({"type": name}, limit=2)
    steps = train(tmp_path / "whole", settings)
    with Reader(tmp_path / "whole") as reader:
        expected = reader.content_hash()
    for stop_at in range(1, steps + 1, 1 if name == "ppo" else 5):
        folder = tmp_path / f"stopped-{stop_at}"
        with pytest.raises(KeyboardInterrupt):
            train(folder, settings, stop_at)
        assert train(folder, settings) == steps - stop_at + 1
        with Reader(folder) as reader:
            assert reader.content_hash() == expected, stop_at


@pytest.mark.parametrize("name", POLICY_GRADIENT)
def test_groups_without_variance_teach_nothing(name: str, tmp_path: Path) -> None:  # promise 3
    alike = {"strategies": ["passage-only"], "candidates": 2}
    train(tmp_path / "run", recipe({"type": name}, propose=alike, reward={"type": "correctness"}))
    with Reader(tmp_path / "run") as reader:
        assert [(update.groups, update.skipped, update.losses) for update in reader.updates()] == [(3, 3, ()), (3, 3, ())]
        assert reader.selected() == [] and reader.artifacts() == [] and "round-2" in reader.rows()
    assert "100.0\u202f%" in write(tmp_path / "run").read_text(encoding="utf-8")


def test_a_round_that_teaches_nothing_leaves_the_policy_as_it_is(tmp_path: Path) -> None:  # promises 2 and 3
    """Of three rounds with a passage each only the first has self-edits above the threshold: starting over waits for something to learn."""
    settings = recipe(
        {"type": "rest_em", "select": "above", "threshold": 0.0, "restart": True}, reward={"type": "python", "function": FIRST}, rounds=3
    )
    settings = settings.model_copy(update={"round_passages": 1})
    for _ in range(2):  # from the ledger the second time
        _, policy = trained(tmp_path / "run", settings)
        assert [path.name for path in policy.merged] == [path.name for path in rounds_of(tmp_path / "run")] == ["round-1"]
    with Reader(tmp_path / "run") as reader:
        assert [(update.groups, bool(update.losses)) for update in reader.updates()] == [(1, True), (1, False), (0, False)]
    assert 'id="updates"' in write(tmp_path / "run").read_text(encoding="utf-8")


def first(task: Task, *_: object) -> float | None:
    """A reward: 1 for the first passage it sees, 0 for the second, unknown for the third."""
    seen = SEEN.setdefault(task.id, len(SEEN))
    return (1.0, 0.0, None)[seen]


SEEN: dict[str, int] = {}
FIRST = f"{__name__}:{first.__name__}"


def test_evolve_builds_on_the_best_and_ends_on_what_accumulated(tmp_path: Path) -> None:  # promise 4
    settings = recipe({"type": "evolve"}, reward={"type": "correctness"}, rounds=3)
    train(tmp_path / "run", settings)
    with Reader(tmp_path / "run") as reader:
        candidates, kept, steps = reader.candidates(), reader.selected(), {step.name: step for step in reader.steps()}
        rewards = [[c.reward.value for c in reader.candidates(round_)] for round_ in range(3)]
    by_number = {(c.proposal.round, c.proposal.index): [] for c in candidates}
    for c in candidates:
        by_number[c.proposal.round, c.proposal.index].append((c.reward.value, c.tokens))
    for round_ in range(3):
        [winner] = {one.index for one in kept if one.round == round_}
        means = {index: sum(value for value, _ in of) / 3 for (r, index), of in by_number.items() if r == round_}
        assert means[winner] == max(means.values())
        assert all(len({tokens for _, tokens in of}) == 1 for of in by_number.values())  # one LoRA for all tasks
    first, last = (sum(values) / len(values) for values in (rewards[0], rewards[-1]))
    assert last > first
    chosen = {(one.task_id, one.round, one.index) for one in kept}
    examples = {e for c in candidates if (c.proposal.task_id, c.proposal.round, c.proposal.index) in chosen for e in c.proposal.edit.examples}
    policy = Policy(Fake(), settings)
    assert steps["round-2/update"].cost.train_tokens == 2 * sum(len(policy.render.datum(e).tokens) for e in examples)
    assert [path.name for path in rounds_of(tmp_path / "run")] == ["round-3"]


@pytest.mark.parametrize(
    ("algorithm", "merged"),
    [
        ({"type": "evolve"}, ["cold_start", "round-2"]),
        ({"type": "rest_em", "restart": True}, ["cold_start", "round-2"]),
        ({"type": "grpo"}, ["cold_start", "round-1", "round-2"]),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_learning_from_rewards_begins_after_a_cold_start(algorithm: dict[str, object], merged: list[str], tmp_path: Path) -> None:  # promises 4, 6
    settings = recipe(algorithm, cold_start={"enabled": True, "passages": 4})
    _, policy = trained(tmp_path / "run", settings)
    assert [path.name for path in policy.merged] == [path.name for path in rounds_of(tmp_path / "run")] == merged
    assert [path.name for path in policy.start] == ["cold_start"]
    steps, policy = trained(tmp_path / "run", settings)  # everything is in the ledger
    assert steps == 0 and [path.name for path in policy.merged] == merged


@pytest.mark.parametrize("reward", ["majority", "perplexity"])
def test_evolve_by_other_rewards(reward: str, tmp_path: Path) -> None:  # promise 4
    train(tmp_path / "run", recipe({"type": "evolve"}, reward={"type": reward}))
    with Reader(tmp_path / "run") as reader:
        assert {c.reward.kind for c in reader.candidates()} == {reward} and len(reader.updates()) == 2


def test_an_archive_after_a_cold_start(tmp_path: Path) -> None:  # promise 6
    _, policy = trained(tmp_path / "run", recipe({"type": "archive"}, cold_start={"enabled": True, "passages": 4}))
    assert [path.name for path in policy.merged] == ["cold_start"]
    with Reader(tmp_path / "run") as reader:
        rows = reader.rows()
    assert rows.index("cold_start") < rows.index("best_strategy") < rows.index("token_matched")


def test_every_round_has_passages_of_its_own(tmp_path: Path) -> None:  # promise 7
    """Of five passages two a round: two rounds a pass, one passage left over; then a shuffle of all five."""
    settings = recipe({"type": "rest_em"}, limit=5, round_passages=2, rounds=4)
    train(tmp_path / "run", settings)
    with Reader(tmp_path / "run") as reader:
        used = [{c.proposal.task_id for c in reader.candidates(n)} for n in range(4)]
    assert [len(some) for some in used] == [2, 2, 2, 2] and not used[0] & used[1] and not used[2] & used[3] and len(set.union(*used)) > 3
    tasks = [Task(f"t{i}", "", "", (), ()) for i in range(9)]
    thirds = [[t.id for t in of_round(Policy(Fake(), recipe({"type": "rest_em"}, round_passages=3)), tasks, n)] for n in range(3)]
    assert sorted(name for third in thirds for name in third) == [t.id for t in tasks] and all(third == sorted(third) for third in thirds)
    assert all(of_round(Policy(Fake(), recipe({"type": "rest_em"}, round_passages=size)), tasks, 1) == tasks for size in (0, 9, 20))
    with pytest.raises(ConfigError, match="round_passages has to be 0"):
        parse_recipe({"algorithm": {"type": "bandit"}, "round_passages": 2})


def test_wrong_settings() -> None:  # promise 5
    with pytest.raises(ConfigError, match=r"algorithm.keep is no setting of grpo, which has .*clip_high"):
        parse_recipe({"algorithm": {"type": "grpo", "keep": 2}})
    with pytest.raises(ConfigError, match=r"inner\.seeds has to be 1"):
        parse_recipe({"algorithm": {"type": "evolve"}, "inner": {"seeds": 2}})
    for compares in ("reinforce", "ppo", "grpo", "dpo", "bandit"):
        with pytest.raises(ConfigError, match=f"algorithm {compares} learns from how the self-edits of a task compare"):
            parse_recipe({"algorithm": {"type": compares}, "propose": {"candidates": 1}})
    assert parse_recipe({"algorithm": {"keep": 2}}) == parse_recipe(
        {"algorithm": {"type": "rest_em", "keep": 2}}
    )  # the one that stands without a word
    with pytest.raises(ConfigError, match=r"algorithm.clip is no setting of rest_em, which has .*keep"):
        parse_recipe({"algorithm": {"clip": 0.1}})
    with pytest.raises(ConfigError, match=r"algorithm: unknown algorithm 'grop'; the nearest is 'grpo' \(there are: .*rest_em"):
        parse_recipe({"algorithm": {"type": "grop"}})
    with pytest.raises(ConfigError, match=r"algorithm.clip: .* \(got 2.0\)"):
        parse_recipe({"algorithm": {"type": "ppo", "clip": 2.0}})
