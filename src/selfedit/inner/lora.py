"""LoRA: supervised fine-tuning of a low-rank adapter on the examples of a self-edit (SEAL section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, field_validator

from selfedit.directives import Directive
from selfedit.inner.base import InnerLoop, InnerSettings, inner
from selfedit.parts import Settings
from selfedit.types import Datum, Directives, Example, LoraShape, Optimizer, TrainJob, Value

if TYPE_CHECKING:
    from selfedit.policy.render import Renderer

Loss = Literal["answers", "all"]
"""What is learned of an example with a question."""
LAYERS = {"all": (0.0, 1.0), "half": (0.5, 1.0), "third": (2 / 3, 1.0), "quarter": (0.75, 1.0)}
"""How much of a model a self-edit can name, counted from its last layer: from where to where in its depth."""
OWN = "given"
"""The layers of `inner.lora.layers`, where they are none of these."""


class Choices(Settings):
    """What self-edits may set where `propose.directives` names it: the alternatives. The recipe's own value always is one of them."""

    lr: tuple[Annotated[float, Gt(0), Lt(inf)], ...] = Field((5e-4, 1e-3, 2e-3, 4e-3), min_length=1)
    """Learning rates."""
    epochs: tuple[Annotated[int, Ge(1)], ...] = Field((2, 4, 6, 10), min_length=1)
    """Numbers of passes over a self-edit's examples."""
    rank: tuple[Annotated[int, Ge(1)], ...] = Field((4, 8, 16, 32), min_length=1)
    """Ranks of the LoRA; alpha keeps its proportion to the rank."""
    layers: tuple[str, ...] = Field(("all", "half", "third"), min_length=1)
    """Layers that get an adapter: `all`, or the last `half`, `third` or `quarter` of them."""
    loss: tuple[Loss, ...] = Field(("answers", "all"), min_length=1)
    """Trained tokens of an example with a question: the answer alone, or the question too."""
    replay: tuple[Annotated[float, Ge(0), Le(1)], ...] = Field((0.0, 0.5, 1.0), min_length=1)
    """Shares of `inner.replay` that the job trains on."""

    @field_validator("layers")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := next((name for name in names if name not in LAYERS), None):
            raise ValueError(f"no part of a model is called '{unknown}'; there are {', '.join(LAYERS)}")
        return names


class LoraSettings(InnerSettings):
    """One LoRA trained on one self-edit."""

    lora: LoraShape = LoraShape(rank=8, alpha=16.0)
    optimizer: Optimizer = Optimizer(lr=2e-3)
    epochs: int = Field(6, ge=1)
    """Passes over a self-edit's examples."""
    batch_size: int = Field(1, ge=1)
    """Examples of one optimizer step."""
    format: Literal["chat", "plain"] = "chat"
    """How examples with a prompt are shown: in the model's chat template, or as plain text. A model without a template always takes `plain`."""
    loss: Loss = "answers"
    """What is learned of an example with a question: the answer alone, or the question too. Examples without one are learned whole."""
    choices: Choices = Choices()
    """The values that directives may choose from."""


@inner("lora", label="LoRA", means="supervised fine-tuning of a LoRA on the examples of the self-edit", settings=LoraSettings)
class Lora(InnerLoop):
    """One training job for each self-edit."""

    @property
    def epochs(self) -> int:
        """Those of the settings."""
        return int(self.settings.epochs)

    @property
    def plain(self) -> bool:
        """As its format says: questions are asked as examples were learned."""
        return bool(self.settings.format == "plain")

    def check(self, recipe: Any) -> None:
        """Refuse to let self-edits choose a share of nothing."""
        if "replay" in recipe.propose.directives and not self.settings.replay:
            raise ValueError("propose.directives names replay, and inner.replay is 0: there are no everyday prompts to take a share of")

    def directives(self) -> tuple[Directive, ...]:
        """How long and fast, how large and where the adapter is, what of the examples is learned, and beside how many everyday prompts."""
        s = self.settings
        own = next((name for name, span in LAYERS.items() if span == s.lora.layers), OWN)
        return (
            _number("lr", "the learning rate: how far each step goes", s.choices.lr, s.optimizer.lr),
            _number("epochs", "how often the material is gone through", s.choices.epochs, s.epochs),
            _number("rank", "the rank of the adapter: how much it can hold", s.choices.rank, s.lora.rank),
            _word("layers", "how much of the model is trained, counted from its last layer", s.choices.layers, own),
            _word("loss", "what is learned of a question with its answer: answers alone, or all of it", s.choices.loss, s.loss),
            _number("replay", "the share of everyday prompts that are kept in practice beside the material", s.choices.replay, 1.0),
        )

    def replayed(self, examples: Sequence[Example], directives: Directives = ()) -> Sequence[Example]:
        """The first of them, as many as the share that a self-edit sets."""
        share = dict(directives).get("replay", 1.0)
        return examples[: round(float(share) * len(examples))]

    def job(self, render: Renderer, examples: Sequence[Example], seed: int, directives: Directives = (), epochs: int | None = None) -> TrainJob:
        """The settings with what the self-edit's directives change."""
        s, said = self.settings, dict(directives)
        data = tuple(render.datum(e) for e in examples)
        if said.get("loss", s.loss) == "all":
            data = tuple(map(_whole, data))
        rank = int(said.get("rank", s.lora.rank))
        shape = replace(s.lora, rank=rank, alpha=s.lora.alpha * rank / s.lora.rank)
        if "layers" in said:
            shape = replace(shape, layers=LAYERS.get(str(said["layers"]), s.lora.layers))
        optimizer = replace(s.optimizer, lr=float(said.get("lr", s.optimizer.lr)))
        return TrainJob(data, shape, optimizer, epochs or int(said.get("epochs", s.epochs)), s.batch_size, seed)


def _number(name: str, means: str, values: Sequence[Value], own: Value) -> Directive:
    """A directive whose alternatives, and the recipe's own value among them, stand in their order."""
    return Directive(name, means, tuple(sorted({*values, own})), own)


def _word(name: str, means: str, values: Sequence[Value], own: Value) -> Directive:
    """A directive whose alternatives are words; the recipe's own one is added where it is not among them."""
    return Directive(name, means, tuple(dict.fromkeys((*values, own))), own)


def _whole(datum: Datum) -> Datum:
    """A sequence of which every token is learned."""
    return replace(datum, weights=(1.0,) * len(datum.tokens))
