"""Perplexity: does the adapter expect what the passage says where neither passage nor self-edit told it literally?

The trivial optimum of such a reward is a self-edit that copies the passage. So some sentences of the passage are withheld from training while the
candidates of a group are compared: the passage is trained without them, and so is the self-edit without every example that quotes one. Which
sentences depends on the passage alone: all candidates of a group are measured on the same text.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

from pydantic import Field

from selfedit.parts import Settings
from selfedit.rewards.base import Measured, Needs, RewardFunction, reward
from selfedit.text import sentences, words
from selfedit.types import Example, Reward, Score, SelfEdit, Task

Runs = set[tuple[str, ...]]


class PerplexitySettings(Settings):
    """Settings of `perplexity`."""

    withheld: float = Field(0.3, gt=0, lt=1)
    """Share of a passage's sentences that are withheld from training while self-edits are compared, with all that quotes them."""
    quote_words: int = Field(6, ge=2)
    """So many words of a withheld sentence in a row are a quotation."""


@reward(
    "perplexity",
    means="what sentences of its document that were withheld from training gained in log-likelihood, in nats a token; needs no questions",
    settings=PerplexitySettings,
    labels={"text_after": "Withheld text, nats a token", "text_before": "Withheld text before"},
)
class Perplexity(RewardFunction):
    """Gain in the log-likelihood a token, nats, of sentences of the passage that the adapter was not trained on."""

    def needs(self) -> Needs:
        """The likelihood of the withheld sentences."""
        return Needs(texts=True)

    def one(self, measured: Measured) -> Reward:
        """The gain of one candidate."""
        return perplexity(measured.texts, measured.texts_before)

    def material(self, task: Task, edit: SelfEdit) -> tuple[Example, ...]:
        """What is left when the withheld sentences and their quotations are taken out."""
        return without(self.settings, task, edit)

    def texts(self, task: Task) -> tuple[str, ...]:
        """The withheld sentences."""
        return withheld(self.settings, task)


def withheld(settings: PerplexitySettings, task: Task) -> tuple[str, ...]:
    """The sentences that are withheld, in their order; none where that would leave no other. Shorter ones than a quotation are never chosen."""
    found = sentences(task.context)
    order = sorted((s for s in found if len(words(s)) >= settings.quote_words), key=lambda s: hashlib.sha256(f"{task.id}\0{s}".encode()).digest())
    chosen = set(order[: min(max(1, round(settings.withheld * len(found))), len(found) - 1)])
    return tuple(s for s in found if s in chosen)


def without(settings: PerplexitySettings, task: Task, edit: SelfEdit) -> tuple[Example, ...]:
    """The examples of a self-edit that quote no withheld sentence, and what is left of the passage, as the last one."""
    n = settings.quote_words
    hidden = _runs(withheld(settings, task), n)
    left = [s for s in sentences(task.context) if not hidden & _runs([s], n)]
    kept = [example for example in edit.examples if not hidden & _runs([example.prompt, example.text], n)]
    return (*kept, Example(f"{task.title}\n{' '.join(left)}"))


def perplexity(after: Sequence[Score], before: Sequence[Score]) -> Reward:
    """Gain in the mean log-likelihood a token, nats; exp(-part) is the perplexity after and before. `after` may hold several seeds."""
    if not before or not after:
        return Reward(None, "perplexity", "the passage has too few sentences to withhold one")
    now, then = _mean(after), _mean(before)
    if not math.isfinite(now - then):
        return Reward(None, "perplexity", f"log-likelihood is not finite ({now - then})")
    return Reward(now - then, "perplexity", parts=(("text_after", now), ("text_before", then)))


def _runs(texts: Iterable[str], n: int) -> Runs:
    """Every n words in a row."""
    split = [words(text) for text in texts]
    return {each[i : i + n] for each in split for i in range(len(each) - n + 1)}


def _mean(scores: Sequence[Score]) -> float:
    logprobs = [logprob for score in scores for logprob in score.logprobs]
    return math.fsum(logprobs) / len(logprobs)
