"""Rewards made of answers, and the one a recipe asks for."""

import math
from dataclasses import replace

import pytest
from tests.unit.rewards.made import Notes, answer, edit, opened, task

from selfedit.config import parse_recipe
from selfedit.rewards import Measured, Needs, RewardFunction, reward
from selfedit.rewards.correctness import correctness
from selfedit.rewards.likelihood import likelihood
from selfedit.types import Answer, Question, Reward


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


def score(opened: RewardFunction, *measured: Measured) -> list[Reward]:
    return opened.score(measured, Notes())


def test_mix_is_a_weighted_sum_on_stated_scales() -> None:
    """2 * 0.5 + 0.25 * 3 nats / 1.5 nats = 1.5."""
    after, before = (answer("a", True, -1.0), answer("b", False, -2.0)), (answer("a", False, -6.0), answer("b", False, -3.0))
    mix = opened("mix", correctness=2, likelihood=0.25, nats=1.5)
    [found] = score(mix, Measured(task(), edit(), answers=after, base_answers=before))
    assert found == Reward(1.5, "mix", parts=(("correctness", 0.5), ("likelihood", 3.0)))
    assert found.part("likelihood") == 3.0 and found.part("vote_share") is None
    [unscored] = score(mix, Measured(task(), edit(), answers=after))
    assert unscored == Reward(None, "mix", "no log-likelihood under the current weights for: a")


def test_mix_has_f1_where_it_weighs() -> None:
    """4 * (1 + 2/3) / 2 + 1.0 * 2 nats; the second says the gold answer and one word more."""
    said = [(answer("a", True, -1.0, said="x"), 1.0), (answer("b", False, -2.0, said="red x"), 2 / 3)]
    after, before = tuple(one for one, _ in said), (answer("a", logprob=-4.0), answer("b", logprob=-3.0))
    [found] = score(opened("mix", correctness=0, f1=4, likelihood=1), Measured(task(), edit(), answers=after, base_answers=before))
    assert found.value == pytest.approx(2 * (1 + 2 / 3) + 2) and found.part("f1") == pytest.approx((1 + 2 / 3) / 2)
    unknown = replace(after[0], question=Question("a", ""), correct=True)
    [unscored] = score(opened("mix", f1=1), Measured(task(), edit(), answers=(unknown,), base_answers=(unknown,)))
    assert unscored == Reward(None, "mix", "no right answer is known for 1 of 1 questions")


def test_choice_is_the_mean_probability() -> None:
    """(1/2 + 1/8) / 2, without a base to compare with; a question without a choice does not count."""
    half, eighth = answer("a", logprob=-math.log(2)), answer("b", logprob=-math.log(8))
    [found] = score(opened("choice"), Measured(task(), edit(), answers=(half, eighth)))
    assert (found.value, found.kind) == (pytest.approx(0.3125), "choice")
    assert score(opened("choice"), Measured(task(), edit(), answers=(answer("c", logprob=-math.inf),))) == [Reward(0.0, "choice")]
    assert score(opened("choice"), Measured(task(), edit(), answers=(half, answer("c"))))[0].value == pytest.approx(0.5)
    unscored = Reward(None, "choice", "no reward question whose answer some sentences of the passage hold and others do not")
    assert score(opened("choice"), Measured(task(), edit(), answers=(answer("c"),)), Measured(task(), edit())) == [unscored, unscored]
    assert score(opened("choice"), Measured(task(), edit(), answers=(answer("a", logprob=math.nan),)))[0].reason == "probability is not finite (nan)"


def test_f1_falls_with_what_else_is_said() -> None:
    """Gold "1802": said alone 1; among four words 2 · ¼ · 1 / (¼ + 1) = 0.4; not said 0."""
    known = Question("When?", "1802")
    answers = tuple(Answer(known, said, None) for said in ("1802", "It was in 1802", "1924"))
    [found] = score(opened("f1"), Measured(task(), edit(), answers=answers))
    assert (found.value, found.kind) == (pytest.approx(1.4 / 3), "f1")
    unknown = Answer(Question("Why?", ""), "so", None)
    assert score(opened("f1"), Measured(task(), edit(), answers=(*answers, unknown)))[0].reason == "no right answer is known for 1 of 4 questions"
    assert score(opened("f1"), Measured(task(), edit()))[0].reason == "no reward questions"


@pytest.mark.parametrize("kind", ["correctness", "likelihood", "choice", "mix"])
def test_reward_as_the_recipe_says(kind: str) -> None:
    answers = (answer("a", True, -1.0),)
    chosen = parse_recipe({"reward": {"type": kind}}).open("reward")
    assert [r.kind for r in score(chosen, Measured(task(), edit(), answers=answers, base_answers=answers))] == [kind]


def test_a_reward_says_what_it_needs() -> None:
    assert opened("correctness").needs() == Needs(answers=True, gold=True) and opened("likelihood").needs() == Needs(
        answers=True, gold=True, written=False
    )
    assert opened("choice").needs() == Needs(answers=True, gold=True, form="choice")
    assert opened("likelihood", of="sentence").needs() == Needs(answers=True, gold=True, form="sentence", written=False)
    assert opened("mix", of="sentence").needs() == Needs(answers=True, gold=True, form="sentence")
    assert opened("majority", samples=5, temperature=0.9).needs() == Needs(samples=5, temperature=0.9)
    assert opened("perplexity").needs() == Needs(texts=True)
    assert opened("python", function="a:b").needs() == Needs(answers=True)
    ours = {entry.name: entry for entry in reward if entry.module.startswith("selfedit.")}
    assert set(ours) == {"choice", "correctness", "f1", "judge", "likelihood", "majority", "mix", "perplexity", "python"}
    assert all((needs := opened(name).needs()).answers or needs.samples or needs.texts for name in ours)
    assert all(entry.means for entry in ours.values())
