"""Majority: the most frequent answer stands for the right one, where nobody knows it.

After SRT (arXiv 2505.21444), TTRL (2504.16084) and MM-UPT (2505.22453): several answers to a question vote, and each is rewarded for agreeing with
the majority. Here the voters are the adapters of a group, one of each self-edit, with `samples` answers each. What they agree on may be wrong, and a
policy can learn to make them agree: the vote share is recorded with each candidate, and guards/collapse.py watches it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from selfedit.grouping import grouped
from selfedit.parts import Settings
from selfedit.rewards.base import Measured, Memory, Needs, RewardFunction, reward
from selfedit.text import normalise
from selfedit.types import Question, Reward

UNKNOWING = (
    "i do not know",
    "i dont know",
    "i am not sure",
    "im not sure",
    "i cannot",
    "i cant",
    "unknown",
    "not specified",
    "there is no information",
)
"""How normalised answers begin that give none."""


class MajoritySettings(Settings):
    """Settings of `majority`."""

    samples: int = Field(8, ge=2, le=256)
    """Answers that each adapter gives to each question."""
    temperature: float = Field(0.7, gt=0)
    """Sampling temperature of these answers."""
    threshold: float = Field(0.5, ge=0, le=1)
    """Least share of a question's readable answers that is a majority. Below it, and in a tie, the question does not count."""
    max_words: int = Field(30, ge=1)
    """A longer answer cannot be read as one: it has no vote."""


@reward(
    "majority",
    means="the share of its answers that agree with the majority of all answers to its document's reward questions; needs no right answers",
    settings=MajoritySettings,
    labels={"vote_share": "Vote share", "decided": "Questions with a majority", "readable": "Readable answers"},
)
class Majority(RewardFunction):
    """Agreement with the majority of all answers that the adapters of a group give (SRT, TTRL, MM-UPT)."""

    def needs(self) -> Needs:
        """Several answers to each question."""
        return Needs(samples=self.settings.samples, temperature=self.settings.temperature)

    def score(self, measured: Sequence[Measured], memory: Memory) -> list[Reward]:
        """The candidates of each task vote among themselves."""
        groups = grouped((m.task.id, m) for m in measured)
        scored = {id(m): found for group in groups.values() for m, found in zip(group, majority(self.settings, group), strict=True)}
        return [scored[id(m)] for m in measured]


def majority(settings: MajoritySettings, group: Sequence[Measured]) -> list[Reward]:
    """Rewards of the candidates of one group: the share of a candidate's answers that are the majority's, over the questions that have one.

    A question has a majority if one answer, normalised, has more votes than any other and at least `threshold` of the votes. An answer that cannot be
    read (`readable`) has no vote, and agrees with nothing: else an adapter could be rewarded for saying little.

    Parts, of a group without any majority too: `vote_share`, the mean share of the most frequent answer among the group's votes; `decided`, the share
    of questions with a majority. Of a candidate with a reward: `readable`, the share of its answers that have a vote.
    """
    votes = {question: Counter[str]() for m in group for question in m.task.reward_questions}
    for m in group:
        for answer in m.drawn:
            if said := readable(answer.prediction, settings.max_words):
                votes[answer.question][said] += 1
    shares = [max(of.values()) / of.total() for of in votes.values() if of]
    winners = {question: winner for question, of in votes.items() if (winner := elected(of, settings.threshold))}
    common = (("vote_share", sum(shares) / len(shares)), ("decided", len(winners) / len(votes))) if shares else ()
    if not winners:
        silent = sum(not of for of in votes.values())
        why = f"no majority on any of {len(votes)} questions: {silent} without a readable answer, the others tied or below {settings.threshold:g}"
        return [Reward(None, "majority", why if votes else "no reward questions", parts=common) for _ in group]
    return [_agreement(settings, m, winners, common) for m in group]


def readable(prediction: str, max_words: int) -> str:
    """The vote of an answer: its normalised words. Empty where it cannot be read: no words, more than `max_words`, or that it does not know."""
    said = normalise(prediction)
    return "" if len(said.split()) > max_words or said.startswith(UNKNOWING) else said


def elected(votes: Counter[str], threshold: float) -> str | None:
    """The answer that wins the vote, None in a tie or below the threshold."""
    ranked = votes.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0] if ranked[0][1] >= threshold * votes.total() else None


def _agreement(settings: MajoritySettings, m: Measured, winners: dict[Question, str], common: tuple[tuple[str, float], ...]) -> Reward:
    said = [(answer.question, readable(answer.prediction, settings.max_words)) for answer in m.drawn]
    agree = [answer == winners[question] for question, answer in said if question in winners]
    if not agree:
        return Reward(None, "majority", "no answer was drawn")
    return Reward(sum(agree) / len(agree), "majority", parts=(*common, ("readable", sum(bool(answer) for _, answer in said) / len(said))))
