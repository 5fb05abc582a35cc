"""What every inner loop is: the one that turns a self-edit into an adapter. `@inner` registers one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from selfedit.directives import Directive
from selfedit.parts import Part, Registry, Settings
from selfedit.types import Directives, Example, TrainJob

if TYPE_CHECKING:
    from selfedit.policy.render import Renderer


class InnerSettings(Settings):
    """What every inner loop has."""

    seeds: int = Field(1, ge=1)
    """Adapters made of each self-edit, with different seeds, which all self-edits of a passage share; the reward is the mean over them."""
    replay: int = Field(0, ge=0)
    """Everyday prompts with the model's own answers that every job trains on as well, against forgetting; the same ones in all jobs of a run."""
    worked: int = Field(0, ge=0)
    """Questions of general knowledge, each with its answer in a word or two, that every job trains on as well: they teach in which form to answer."""


class InnerLoop(Part):
    """From a self-edit to an adapter."""

    kind = "data"
    """The kind of self-edit that it makes adapters of, as `edits` of a recipe names it."""
    trains = True
    """Whether an adapter is trained; else it is made of the self-edit's numbers."""

    @property
    def epochs(self) -> int:
        """Passes over a self-edit's examples."""
        return 1

    @property
    def plain(self) -> bool:
        """Whether questions are put as plain text also where there is a chat template."""
        return False

    def directives(self) -> tuple[Directive, ...]:
        """What a self-edit may set, with its alternatives and the value that it has where the self-edit says nothing."""
        return ()

    def replayed(self, examples: Sequence[Example], directives: Directives = ()) -> Sequence[Example]:
        """Those of the recipe's everyday examples that the job of a self-edit trains on as well; all of them."""
        return examples

    def job(self, render: Renderer, examples: Sequence[Example], seed: int, directives: Directives = (), epochs: int | None = None) -> TrainJob:
        """The training of one adapter on these examples. `epochs`, where given, takes the place of all others."""
        raise NotImplementedError(f"inner loop {self.settings.part} trains nothing")


inner = Registry("inner", InnerLoop)
"""`@inner(name, means=..., settings=...)` registers a subclass of InnerLoop."""
