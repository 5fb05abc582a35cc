"""What the policy is asked and writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfedit.types.tasks import Passage

Value = bool | int | float | str
"""What a directive can be set to."""
Directives = tuple[tuple[str, Value], ...]
"""Settings of a self-edit's own inner loop, by name."""


@dataclass(frozen=True, slots=True)
class Example:
    """One training sequence of a self-edit. With an empty `prompt` the whole text is learned, otherwise only `text`.

    `pieces`, where there are any, stand in place of both: texts that follow one another as plain text, each with the weight of its tokens' loss.
    """

    text: str
    prompt: str = ""
    pieces: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A piece of a completion that was not used, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the policy is asked: a user's turn or, where `continued`, a text to go on with. `given` is what the answer will be, for parsers;
    of the question which strategy is best, what the answer was drawn from."""

    text: str
    continued: bool = False
    given: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing the policy was asked and what it wrote.

    `tokens` (T,) are the ids that were drawn, the end token among them; empty where they are not known (runs of version 0.1.0, other trainers).
    """

    prompt: Prompt
    completion: str
    finish_reason: Literal["stop", "length"] = "stop"
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class VectorEdit:
    """An edit vector: d numbers that change the weights of some layers through a fixed basis.

    `layers` (L,) are the numbers of decoder layers, from 0; `values` (L·width,) stand layer by layer.

    Without a `basis` they mix singular directions of the weights (TinyLoRA, arXiv 2602.04118). In a layer, every linear layer with W ≈ U Σ Vᵀ, cut
    at `rank`, changes by U √Σ (Σ_j values_j P_j) √Σ Vᵀ. Its matrices P_j (rank × rank) are drawn from `seed` with variance 1 / rank, so that the
    untrained model is all that is needed to make the adapter again.

    A `basis` is the SHA-256 of an adapter of rank `width` in the run folder. Number j of a layer is the factor of that adapter's direction j in it.
    """

    seed: int
    layers: tuple[int, ...]
    rank: int
    width: int
    values: tuple[float, ...]
    basis: str = ""


@dataclass(frozen=True, slots=True)
class SelfEdit:
    """Training material that the policy wrote for a task: what was asked, what came back, what was made of it.

    A `strategy` such as `self-qa+key-facts` was mixed. Where the policy `picked` it, the first turn is the one in which it did. `directives` are
    settings of the self-edit's own inner loop, by name; `directive_turns` turns, which follow the pick, are those in which the policy wrote them.
    A self-edit with a `problem` cannot be trained: it stays without a score, and this is the reason. One with a `vector` changes the
    weights by it, and has no examples.
    """

    strategy: str
    turns: tuple[Turn, ...]
    examples: tuple[Example, ...]
    dropped: tuple[Dropped, ...] = ()
    picked: bool = False
    directives: Directives = ()
    directive_turns: int = 0
    problem: str = ""
    vector: VectorEdit | None = None

    @property
    def pick(self) -> Turn | None:
        """The turn in which the policy picked the strategy; None where it was not asked."""
        return self.turns[0] if self.picked else None

    @property
    def decisions(self) -> tuple[Turn, ...]:
        """The turns before the writing: the pick, and those in which directives were set."""
        return self.turns[: self.picked + self.directive_turns]

    @property
    def writing(self) -> tuple[Turn, ...]:
        """The turns in which it was written: all but the decisions."""
        return self.turns[self.picked + self.directive_turns :]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A passage with a good self-edit as a model should write it; without a `completion` one is made of the passage's questions.

    `strategy` is the one it is for, empty for every one that it fits.
    """

    passage: Passage
    completion: str = ""
    strategy: str = ""
