"""What every algorithm is: which self-edits the policy learns from, how much each counts, and what it is trained on. `@algorithm` registers one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from selfedit.parts import Part, Registry, Settings
from selfedit.types import Candidate, Datum, LoraShape, Optimizer, Proposal, Round, ScoreRequest, Selected, Task, Tokens, TrainJob, Update, Variant

if TYPE_CHECKING:
    from selfedit.policy import Policy


class Outer(Settings):
    """How the policy is trained, whatever it learns from."""

    lora: LoraShape = LoraShape(rank=64, alpha=128.0)
    optimizer: Optimizer = Optimizer(lr=3e-4)
    epochs: int = Field(1, ge=1)
    """Passes over the self-edits of a round."""
    batch_size: int = Field(10, ge=1)
    """Self-edits (of `dpo` pairs of them; of `rest_em` and a cold start prompts with their completions) of one optimizer step."""


class Trainable(Protocol):
    """Settings that a training of the policy takes: those of an algorithm, or of a cold start."""

    @property
    def lora(self) -> LoraShape:
        """The shape of the adapter."""
        ...

    @property
    def optimizer(self) -> Optimizer:
        """How it is trained."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over the data."""
        ...

    @property
    def batch_size(self) -> int:
        """Actions of one optimizer step."""
        ...


class Search(Protocol):
    """What a search over strategies can ask of the run it is part of."""

    @property
    def policy(self) -> Policy:
        """The run's."""
        ...

    def collect(self, number: int, strategies: Sequence[str] = (), variant: Variant | None = None) -> list[Candidate]:
        """Self-edits of every task in round `number` with their rewards: by these strategies, one for each self-edit, or as a variant writes."""
        ...

    def variant(self, number: int, write: Any) -> Variant:
        """The variant of this number: from the ledger, or what `write(progress)` returns."""
        ...


class Algorithm(Part):
    """From the rewards of a round to the next policy."""

    trains = True
    """Whether the policy is updated; a search looks for a better strategy and leaves the weights alone."""
    learns_documents = False
    """Whether its selection is what `learn` keeps: the best self-edits, to be learned as they are."""
    compares = False
    """Whether it learns from how the self-edits of a task compare: it then needs at least two of each."""
    shares_adapters = False
    """Whether self-edits of several tasks are the data of one adapter."""
    same_prompts = False
    """Whether the self-edits of a task have to answer the same prompts."""
    kinds: frozenset[str] = frozenset({"data"})
    """The kinds of self-edit that it learns to make, as `edits` of a recipe names them."""
    contextual = True
    """Of edit vectors: whether it may learn another one for every context, or one for all."""
    passes = 1
    """Of edit vectors: how often a round's draws are learned from."""

    @property
    def fewest(self) -> int:
        """Scored self-edits of a task that it needs at least."""
        return 2 if self.compares else 1

    def check(self, recipe: Any) -> None:
        """Refuse one self-edit a task where self-edits are compared."""
        K = recipe.propose.candidates
        if self.compares and K < 2:
            raise ValueError(
                f"propose.candidates is {K}: algorithm {self.settings.part} learns from how the self-edits of a task compare, so from at least 2"
            )

    def select(self, candidates: Sequence[Candidate]) -> list[Selected]:
        """What is learned from, each with its advantage."""
        return []

    def members(self, proposals: Sequence[Proposal]) -> list[list[Proposal]]:
        """The self-edits that are the data of one adapter; each by itself."""
        return [[proposal] for proposal in proposals]

    def starts_over(self, updates: int, rounds: int) -> bool:
        """Whether the update of this number (from 1, of `rounds`) fine-tunes the policy that the rounds began with, not the one that they made."""
        return False

    def data(self, policy: Policy, rounds: Sequence[Round], before: Update | None) -> TrainJob:
        """What the policy is trained on after the last of `rounds`; without data where there is nothing. `before` is the last update."""
        raise NotImplementedError(f"algorithm {self.settings.part} trains no policy")

    def weigh(self, rewards: Sequence[float], advantages: Sequence[float], ratios: Sequence[float]) -> list[float]:
        """Of edit vectors: how far the log-probability of each draw of a round is raised, given what it is worth, how much that is beyond what it is
        compared with, and how many times likelier it is by now than when it was drawn."""
        raise NotImplementedError(f"algorithm {self.settings.part} learns no edit vectors")

    def search(self, run: Search, tasks: Sequence[Task]) -> Variant:
        """The best strategy that a search finds."""
        raise NotImplementedError(f"algorithm {self.settings.part} is no search")


algorithm = Registry("algorithm", Algorithm)
"""`@algorithm(name, means=..., settings=...)` registers a subclass of Algorithm."""


# ---------------------------------------------------------------- from selected self-edits to training data


@dataclass(frozen=True, slots=True)
class TurnSample:
    """One turn of a selected self-edit as tokens: what the policy was asked, and what it drew."""

    selected: Selected
    prompt: Tokens
    reply: Tokens


def turn_samples(policy: Policy, round_: Round) -> list[list[TurnSample]]:
    """The turns of each selected self-edit (SEAL section 3.1: the policy learns from what it was asked and wrote); empty replies teach nothing."""
    edits = {c.proposal.key: c.proposal.edit for c in round_.candidates}
    found = []
    for one in round_.selected:
        turns = [policy.render.written(turn) for turn in edits[one.key].turns]
        found.append([TurnSample(one, prompt, reply) for prompt, reply in turns if reply])
    return found


def imitated(turns: Sequence[tuple[Tokens, Tokens]]) -> tuple[Datum, ...]:
    """Prompts with the replies that are to be learned, for supervised fine-tuning."""
    return tuple(Datum(prompt + reply, (0.0,) * len(prompt) + (1.0,) * len(reply)) for prompt, reply in turns)


def compared(policy: Policy, samples: Sequence[TurnSample]) -> tuple[Datum, ...]:
    """With log-probabilities under the policy that wrote them and under the one that the rounds began with, and with their advantages."""
    requests = [ScoreRequest(sample.prompt, sample.reply) for sample in samples]
    old = policy.engine.score(requests)
    reference = policy.reference(requests, old)
    data = []
    for sample, now, first in zip(samples, old, reference, strict=True):
        before = (0.0,) * len(sample.prompt)
        weights = before + (1.0,) * len(sample.reply)
        data.append(Datum(sample.prompt + sample.reply, weights, before + now.logprobs, before + first.logprobs, sample.selected.advantage))
    return tuple(data)


def divergence(data: Sequence[Datum]) -> float:
    """From the policy that the rounds began with to the one that wrote these, nats a token: k3, as in the losses (Schulman 2020)."""
    logs = [r - o for d in data for o, r, weight in zip(d.old_logprobs, d.reference_logprobs, d.weights, strict=True) if weight]
    return fmean(math.exp(log) - 1 - log for log in logs)


def outer_job(settings: Trainable, data: tuple[Datum, ...], seed: int, loss: str = "cross_entropy", **more: Any) -> TrainJob:
    """A training of the policy with the settings of its algorithm."""
    return TrainJob(data, settings.lora, settings.optimizer, settings.epochs, settings.batch_size, seed, loss, **more)


class PolicyGradient(Algorithm):
    """Algorithms that learn from advantages: they share everything but the advantages, the loss and its options."""

    compares = True
    loss = ""
    """The engine's loss."""

    def options(self, kl: float, longest: int) -> dict[str, float]:
        """Options of the loss: `kl` is the weight of the divergence, `longest` the most tokens of one turn."""
        return {"kl": kl}

    def kl(self, before: Update | None, divergence: float | None) -> float:
        """The weight of the divergence in the next update; that of the settings."""
        return float(self.settings.kl)

    def actions(self, sides: list[list[TurnSample]]) -> list[list[TurnSample]]:
        """The turns that are one action, learned from in one step: those of a self-edit."""
        return [side for side in sides if side]

    def data(self, policy: Policy, rounds: Sequence[Round], before: Update | None) -> TrainJob:
        """The actions of the last round with their advantages."""
        actions = self.actions(turn_samples(policy, rounds[-1]))
        data = compared(policy, [sample for action in actions for sample in action])
        kl = self.kl(before, divergence(data) if data else None)
        options = self.options(kl, policy.recipe.propose.sampling.max_tokens)
        seed = policy.seed("outer", rounds[-1].number)
        return outer_job(self.settings, data, seed, self.loss, loss_options=options, groups=tuple(map(len, actions)))
