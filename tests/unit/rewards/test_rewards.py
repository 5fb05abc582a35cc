import math

import pytest

from selfedit.config import Correctness, Likelihood
from selfedit.rewards import correctness, likelihood, reward
from selfedit.types import Answer, Question, Reward


def answer(name: str, correct: bool = False, logprob: float | None = None) -> Answer:
    return Answer(Question(name, "x"), "", correct, logprob)


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


@pytest.mark.parametrize(("settings", "kind"), [(Correctness(), "correctness"), (Likelihood(), "likelihood")])
def test_reward_as_the_recipe_says(settings: Correctness | Likelihood, kind: str) -> None:
    answers = [answer("a", True, -1.0)]
    assert reward(settings, answers, answers).kind == kind
