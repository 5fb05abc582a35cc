"""The figures of `selfedit eval --reliability` are those of its ledger.

1. Each reward's reliability, best of K and cost are recomputed here from the answers and the steps.
2. Prefilters stand beside the full reward, with what they save; the reward itself, from one seed, is the yardstick.
3. Self-edits without a reward are left out and counted; a reward that was not measured is not shown.
4. Where the gold answers became less likely while more were answered, the page warns of likelihood.
5. A run on a real loop, whose adapters depend on their seed: tables, page and the file for programs agree; a run without trials has none of them.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfedit.config import Recipe, parse_recipe
from selfedit.engine.fake import Fake
from selfedit.ledger import Ledger, Reader
from selfedit.loop import Run, study_reliability
from selfedit.policy import Policy
from selfedit.report import write
from selfedit.report.reliability import Trust, as_json, review, sentence, verdict
from selfedit.study.reliability import best_of, icc, spearman
from selfedit.tasks.knowledge.split import bundled_corpus
from selfedit.types import Answer, Candidate, Interval, Progress, Proposal, Question, Rating, Result, Reward, SelfEdit, Task, Trained, TrainJob

T, K, S, Q = 4, 3, 2, 2


def tell(folder: Path, failed: Sequence[int] = (), logprobs: bool = True, before: float = -2.0, reward: str = "correctness") -> np.ndarray:
    """A made-up run; returns whether each answer is correct, (T, K, S, Q)."""
    rng = np.random.default_rng(4)
    correct = rng.random((T, K, S, Q)) < np.linspace(0.2, 0.8, K)[None, :, None, None]
    asked = [tuple(Question(f"Question {t}.{q}?", f"answer {q}") for q in range(Q)) for t in range(T)]
    tasks = [Task(f"t{t}", f"Title {t}", "Context.", asked[t], (Question(f"Other {t}?", "x"),)) for t in range(T)]

    def candidate(p: Proposal, t: int) -> Candidate:
        if t * K + p.index in failed:
            return Candidate(p, Reward(None, "correctness", "training diverged"))
        marks = correct[t, p.index]
        answers = tuple(Answer(asked[t][q], "said", bool(marks[s, q]), -1.0 + marks[s, q] if logprobs else None) for s in range(S) for q in range(Q))
        return Candidate(p, Reward(float(marks.mean()), "correctness"), answers, tokens=600)

    with Ledger.create(
        folder, command="eval", recipe=parse_recipe({"reliability": {"seeds": S}, "reward": {"type": reward}}), environment={}
    ) as ledger:
        ledger.step("tasks", Task, lambda: tasks)
        known = before if logprobs else None
        ledger.step(
            "trials/base",
            Result,
            lambda: [Result("base", t.id, tuple(Answer(q, "", False, known) for q in t.reward_questions), 0, "reward") for t in tasks],
        )
        proposals = ledger.step(
            "trials/edits", Proposal, lambda: [Proposal(t.id, 0, k, k, SelfEdit("self-qa", (), ())) for t in tasks for k in range(K)]
        )

        def train() -> list[Candidate]:
            ledger.count(train_tokens=600 * T * K)
            ledger.count(sample_tokens=48 * T * K)
            return [candidate(p, i // K) for i, p in enumerate(proposals)]

        ledger.step("trials/candidates-0", Candidate, train)
        ledger.step("trials/gradient-0-0", Rating, lambda: [Rating(p.task_id, 0, p.index, "gradient", 0, float(p.index)) for p in proposals])
        ledger.finish()
    return correct


def reviewed(folder: Path) -> Trust:
    with Reader(folder) as reader:
        found = review(reader)
    assert found is not None
    return found


def test_rewards_are_those_of_the_answers(tmp_path: Path) -> None:  # promise 1
    correct = tell(tmp_path / "run")
    found = reviewed(tmp_path / "run")
    groups = [task.mean(axis=2) for task in correct.astype(float)]
    by_name = {reward.name: reward for reward in found.rewards}
    assert (found.tasks, found.edits, found.seeds, found.questions, found.unscored) == (T, T * K, S, Q, 0)
    assert by_name["correctness"].within == icc(groups, within=True, paired=True) and by_name["correctness"].over_all == icc(groups, within=False)
    assert by_name["correctness"].best == [best_of(groups, 1), best_of(groups, 2)] and by_name["correctness"].in_answers == [best_of(groups, 1).true]
    likelihood, mix, one = by_name["likelihood"], by_name["mix"], by_name["correctness"].within  # the gain is 1 where wrong and 2 where right
    assert (
        likelihood.within and mix.within and one and likelihood.within.mean == pytest.approx(one.mean) and mix.within.mean == pytest.approx(one.mean)
    )
    assert likelihood.by_questions[-1] == (Q, pytest.approx(one.mean)) and [q for q, _ in mix.by_questions] == [1, 2]
    with Reader(tmp_path / "run") as reader:
        cost = next(step.cost for step in reader.steps() if step.name == "trials/candidates-0")
    assert found.cost.train_tokens == 600 / S and found.cost.sample_tokens == 48 / S
    assert found.cost.cpu_s == pytest.approx(cost.cpu_s / (T * K * S)) and 0 < cost.train_cpu_s + cost.sample_cpu_s <= cost.cpu_s


def test_choice_stands_in_the_place_of_likelihood(tmp_path: Path) -> None:  # promise 1
    correct = tell(tmp_path / "run", reward="choice")
    found = reviewed(tmp_path / "run")
    assert [reward.name for reward in found.rewards] == ["correctness", "choice"]
    assert found.rewards[1].mean == pytest.approx(np.exp(-1 + correct.astype(float)).mean())


def test_what_a_choice_is_worth_is_said_with_its_interval(tmp_path: Path) -> None:  # promise 1
    tell(tmp_path / "run")
    found = reviewed(tmp_path / "run")
    best = replace(found, rewards=[replace(found.rewards[0], name="a", in_answers=[Interval(0.02, -0.01, 0.05, 9)])])
    assert "worth +2.0 points by a (−1.0 to +5.0)." in sentence(best)


def test_screens_stand_beside_the_full_reward(tmp_path: Path) -> None:  # promise 2
    correct = tell(tmp_path / "run")
    found = reviewed(tmp_path / "run")
    yardstick, gradient = found.prefilters
    full = correct.mean(axis=(2, 3))
    rhos = [rho for task in full if (rho := spearman(task, np.arange(K, dtype=float))) is not None]
    assert gradient.name == "gradient" and gradient.found.within is not None and gradient.found.within.mean == pytest.approx(np.mean(rhos))
    assert gradient.found.survivors[0].same_winner.mean == np.mean([task[-1] == task.max() for task in full])
    assert gradient.alone == pytest.approx(1 - gradient.cost.cpu_s / (S * found.cost.cpu_s))
    assert gradient.alone is not None and gradient.saved == [pytest.approx(gradient.alone - 1 / 3), pytest.approx(gradient.alone - 2 / 3)]
    assert (
        yardstick.name == "one_seed" and yardstick.alone == pytest.approx(1 / 2) and yardstick.saved == [pytest.approx(1 / 3), pytest.approx(1 / 6)]
    )


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:  # promise 3
    correct = tell(tmp_path / "run", failed=(0, 3, 4, 5), logprobs=False)
    found = reviewed(tmp_path / "run")
    groups = [task.mean(axis=2)[keep] for task, keep in zip(correct.astype(float), ([1, 2], [], [0, 1, 2], [0, 1, 2]), strict=True) if keep]
    assert found.unscored == 4 and [reward.name for reward in found.rewards] == ["correctness"]
    assert found.rewards[0].within == icc(groups, within=True, paired=True)
    page = write(tmp_path / "run").read_text(encoding="utf-8")
    assert (
        "4 self-edits have no reward (training failed, or there was nothing to measure) and are left out" in page
        and 'data-reward="likelihood"' not in page
    )


def test_a_likelihood_that_falls_is_warned_of(tmp_path: Path) -> None:  # promise 4
    tell(tmp_path / "run", before=0.5)
    found = reviewed(tmp_path / "run")
    assert found.base == 0 and {reward.name: reward.mean < 0 for reward in found.rewards} == {"correctness": False, "likelihood": True, "mix": True}
    assert "less likely" in sentence(found) and "Take care" in write(tmp_path / "run").read_text(encoding="utf-8")
    tell(tmp_path / "other")
    assert "Take care" not in sentence(reviewed(tmp_path / "other"))


def test_where_nothing_was_measured(tmp_path: Path) -> None:  # promise 3
    tell(tmp_path / "run", failed=range(T * K))
    found = reviewed(tmp_path / "run")
    assert found.unscored == T * K and not found.rewards and verdict(found) == "Nothing tells these self-edits apart."
    assert "12 self-edits have no reward" in write(tmp_path / "run").read_text(encoding="utf-8")


class Moody(Fake):
    """Each adapter forgets a third of its examples, by its seed."""

    def train(self, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        kept = [random.Random(job.seed).sample(job.data, math.ceil(2 * len(job.data) / 3)) for job in jobs]
        return super().train([replace(job, data=tuple(data)) for job, data in zip(jobs, kept, strict=True)], progress)


class Silent:
    """Nobody is told how the work goes on."""

    def stage(self, title: str) -> AbstractContextManager[Progress]:
        return nullcontext(lambda done, total: None)

    def say(self, text: str) -> None:
        pass


def test_a_whole_run(tmp_path: Path) -> None:  # promise 5
    recipe = parse_recipe(
        {
            "engine": {"type": "fake"},
            "propose": {"candidates": 4, "strategies": ["self-qa", "key-facts"]},
            "reliability": {"seeds": 3},
            "reward": {"type": "likelihood"},
        }
    )
    with Ledger.create(tmp_path / "run", command="eval", recipe=recipe, environment={}) as ledger:
        policy = Policy(Moody(), recipe, lambda trained, written: ledger.count(train_tokens=trained, sample_tokens=written))
        study_reliability(Run(policy, ledger, Silent()), bundled_corpus("train")[:6])
        ledger.finish()
    found = reviewed(tmp_path / "run")
    assert [prefilter.name for prefilter in found.prefilters] == ["one_seed", "halving", "early_stop", "gradient", "in_context"]
    likelihood = next(reward for reward in found.rewards if reward.name == "likelihood")
    assert likelihood.within is not None and 0 < likelihood.within.mean < 1 and likelihood.best[0].true is not None
    assert likelihood.best[0].true.mean < likelihood.best[0].apparent.mean  # the winner's curse
    page = write(tmp_path / "run").read_text(encoding="utf-8")
    for words in (
        verdict(found),
        sentence(found),
        'id="reliability"',
        'id="prefilters"',
        'data-prefilter="in_context"',
        'data-figure="figure-prefilters"',
    ):
        assert words in page
    for_programs = json.loads(as_json(found))
    assert for_programs["rewards"][0]["within"]["mean"] == found.rewards[0].within.mean  # type: ignore[union-attr]
    assert for_programs["prefilters"][1]["found"]["survivors"][0]["keep"] == 1


def test_other_runs_have_none(tmp_path: Path) -> None:  # promise 5
    with Ledger.create(tmp_path / "run", command="learn", recipe=Recipe(), environment={}) as ledger:
        ledger.finish()
    with Reader(tmp_path / "run") as reader:
        assert review(reader) is None
    assert 'id="reliability"' not in write(tmp_path / "run").read_text(encoding="utf-8")
