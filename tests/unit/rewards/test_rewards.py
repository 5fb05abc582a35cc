"""Rewards made of answers, and the one a recipe asks for."""

import math
from typing import get_args

import pytest
from tests.unit.rewards.made import Notes, answer, edit, task

from selfedit.config import Choice, Correctness, Likelihood, Majority, Mix, Perplexity, PythonFunction, RewardSettings
from selfedit.rewards import REWARDS, Measured, Needs, correctness, likelihood, needs, reward
from selfedit.types import Reward


def test_correctness_is_the_share_of_correct_answers() -> None:
    assert correctness([answer("a", True), answer("b"), answer("c"), answer("d", True)]) == Reward(0.5, "correctness")


def test_likelihood_is_the_mean_gain() -> None:
    """(-1 - -3 + -2 - -1) / 2 = 0.5 nats."""
    after, before = [answer("a", logprob=-1), answer("b", logprob=-2)], [answer("b", logprob=-1), answer("a", logprob=-3)]
    assert likelihood(after, before) == Reward(0.5, "likelihood")
    assert likelihood(after + after, before) == Reward(0.5, "likelihood")  # two seeds, one base


def test_what_was_not_measured_is_unscored() -> None:
    measured, unmeasured = answer("a", logprob=-1), answer("a")
    for after, before, reason in [
        ([measured], [unmeasured], "no log-likelihood under the current weights for: a"),
        ([unmeasured], [measured], "no log-likelihood under the adapter for: a"),
        ([measured], [answer("b", logprob=-1)], "no log-likelihood under the current weights for: a"),
        ([], [], "no reward questions"),
        ([answer("a", logprob=-math.inf)], [measured], "log-likelihood is not finite (-inf)"),
    ]:
        assert likelihood(after, before) == Reward(None, "likelihood", reason)
    assert correctness([]) == Reward(None, "correctness", "no reward questions")
    assert correctness([answer("a", True), answer("b", None)]) == Reward(None, "correctness", "no right answer is known for 1 of 2 questions")


def score(settings: RewardSettings, *measured: Measured) -> list[Reward]:
    return reward(settings, measured, Notes())


def test_mix_is_a_weighted_sum_on_stated_scales() -> None:
    """2 * 0.5 + 0.25 * 3 nats / 1.5 nats = 1.5."""
    after, before = (answer("a", True, -1.0), answer("b", False, -2.0)), (answer("a", False, -6.0), answer("b", False, -3.0))
    settings = Mix(correctness=2, likelihood=0.25, nats=1.5)
    [found] = score(settings, Measured(task(), edit(), answers=after, base_answers=before))
    assert found == Reward(1.5, "mix", parts=(("correctness", 0.5), ("likelihood", 3.0)))
    assert found.part("likelihood") == 3.0 and found.part("vote_share") is None
    [unscored] = score(settings, Measured(task(), edit(), answers=after))
    assert unscored == Reward(None, "mix", "no log-likelihood under the current weights for: a")


def test_choice_is_the_mean_probability() -> None:
    """(1/2 + 1/8) / 2, without a base to compare with; a question without a choice does not count."""
    half, eighth = answer("a", logprob=-math.log(2)), answer("b", logprob=-math.log(8))
    [found] = score(Choice(), Measured(task(), edit(), answers=(half, eighth)))
    assert (found.value, found.kind) == (pytest.approx(0.3125), "choice")
    assert score(Choice(), Measured(task(), edit(), answers=(answer("c", logprob=-math.inf),))) == [Reward(0.0, "choice")]
    assert score(Choice(), Measured(task(), edit(), answers=(half, answer("c"))))[0].value == pytest.approx(0.5)
    unscored = Reward(None, "choice", "no reward question whose answer some sentences of the passage hold and others do not")
    assert score(Choice(), Measured(task(), edit(), answers=(answer("c"),)), Measured(task(), edit())) == [unscored, unscored]
    assert score(Choice(), Measured(task(), edit(), answers=(answer("a", logprob=math.nan),)))[0].reason == "probability is not finite (nan)"


@pytest.mark.parametrize(("settings", "kind"), [(Correctness(), "correctness"), (Likelihood(), "likelihood"), (Choice(), "choice"), (Mix(), "mix")])
def test_reward_as_the_recipe_says(settings: RewardSettings, kind: str) -> None:
    answers = (answer("a", True, -1.0),)
    assert [r.kind for r in score(settings, Measured(task(), edit(), answers=answers, base_answers=answers))] == [kind]


def test_a_reward_says_what_it_needs() -> None:
    assert needs(Correctness()) == needs(Likelihood()) == Needs(answers=True, gold=True)
    assert needs(Choice()) == Needs(answers=True, gold=True, form="choice")
    assert needs(Likelihood(of="sentence")) == needs(Mix(of="sentence")) == Needs(answers=True, gold=True, form="sentence")
    assert needs(Majority(samples=5, temperature=0.9)) == Needs(samples=5, temperature=0.9)
    assert needs(Perplexity()) == Needs(texts=True)
    assert needs(PythonFunction(function="a:b")) == Needs(answers=True)
    variants = get_args(get_args(RewardSettings)[0])
    assert all(any(vars_ for vars_ in (needs(v()).answers, needs(v()).samples, needs(v()).texts)) for v in variants)
    assert list(REWARDS) == [v.model_fields["type"].default for v in variants] and all(REWARDS.values())
