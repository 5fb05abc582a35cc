"""The search of the Darwin Gödel Machine (Zhang et al. 2025, arXiv 2505.22954) over ways of writing self-edits.

Every strategy that was evaluated stays in the archive. A parent is drawn, the model itself writes how to do better, and what it wrote is read
strictly into a bounded record: the prompt, the format, how many samples, and how long and fast to train on them. Tasks, questions and the judge
are no part of it: a strategy cannot touch what it is measured by.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from pydantic import Field

from selfedit.algorithms.base import Algorithm, Search, algorithm
from selfedit.algorithms.groups import groups
from selfedit.errors import EngineError
from selfedit.parts import Settings
from selfedit.types import Candidate, Prompt, Task, Turn, Variant

PROMPT_CHARACTERS = (10, 600)
SAMPLES, EPOCHS, LR = (1, 4), (1, 20), (1e-5, 1e-2)
"""Least and most of what a strategy may ask for."""

_LINE = re.compile(r"(Prompt|Format|Samples|Epochs|Learning rate): *(\S.*)")


class ArchiveSettings(Settings):
    """Settings of `archive`."""

    steepness: float = Field(10.0, gt=0)
    """λ of the sigmoid by which parents are drawn: the higher, the more a high mean reward is preferred."""
    midpoint: float = 0.5
    """Mean reward at which the sigmoid is one half."""


@algorithm(
    "archive",
    label="Archive",
    means="a search over strategies: the model mutates them, all stay, `rounds` is how many it writes (the Darwin Gödel Machine's)",
    settings=ArchiveSettings,
)
class Archive(Algorithm):
    """The recipe's strategies first, then as many children as it has rounds."""

    trains = False

    def check(self, recipe: Any) -> None:
        """Strategies are compared by themselves, on the same passages, with the epochs that they ask for."""
        refuse_for_search(self, recipe)
        if recipe.open("prefilter").epochs:
            raise ValueError("algorithm archive tries out numbers of epochs itself: prefilter.type early_stop would overrule them")
        if any("+" in name for name in recipe.propose.choices):
            raise ValueError("algorithm archive begins with single strategies: leave out propose.mix and names with +")

    def search(self, run: Search, tasks: Sequence[Task]) -> Variant:
        """The best of all variants. Raises EngineError where none could be scored."""
        recipe, found = run.policy.recipe, list[tuple[Variant, dict[str, float]]]()
        for number in range(len(recipe.propose.strategies) + recipe.rounds):
            variant = run.variant(number, lambda progress, number=number: self._next(run, entries(found), number, progress))
            found.append((variant, {} if variant.problem else task_means(run.collect(number, variant=variant))))
        known = [entry for entry in entries(found) if entry.score is not None]
        if not known:
            raise EngineError(UNSCORED)
        return max(known, key=lambda entry: entry.score or 0.0).variant

    def _next(self, run: Search, archive: Sequence[Entry], number: int, progress: Any) -> Variant:
        """One of the recipe's strategies, or a child of one that was drawn."""
        policy = run.policy
        if number < len(policy.recipe.propose.strategies):
            return policy.known_variant(policy.recipe.propose.strategies[number], number)
        if all(entry.score is None for entry in archive):
            raise EngineError(UNSCORED)
        seed = policy.seed("mutation", number)
        [parent] = random.Random(seed).choices(archive, chances(archive, self.settings.steepness, self.settings.midpoint))
        return read(policy.write(ask(parent), seed, progress), number, parent.variant)


UNSCORED = "no self-edit could be scored; `selfedit report` shows why (is inner.optimizer.lr too high?)"


def refuse_for_search(searching: Algorithm, recipe: Any) -> None:
    """What no search over strategies goes with. Raises ValueError."""
    name = searching.settings.part
    if recipe.round_passages:
        raise ValueError(f"algorithm {name} compares strategies on the same passages: round_passages has to be 0")
    if recipe.propose.policy_picks:
        raise ValueError(f"algorithm {name} picks strategies itself: propose.pick has to be turns")


def task_means(candidates: Sequence[Candidate]) -> dict[str, float]:
    """The mean reward of the self-edits of each task that has a scored one."""
    return {task: fmean(value for _, value in group) for (_, task), group in groups(candidates).items()}


def entries(found: Sequence[tuple[Variant, Mapping[str, float]]]) -> list[Entry]:
    """Variants with their scores, the mean over tasks of the mean reward.

    A variant that failed on a task that another was scored on has none: its mean would be over easier tasks.
    """
    tasks = {task for _, means in found for task in means}
    return [Entry(variant, fmean(means.values()) if means and means.keys() == tasks else None) for variant, means in found]


@dataclass(frozen=True, slots=True)
class Entry:
    """A strategy in the archive with its score, the mean reward; None where it could not be used or scored."""

    variant: Variant
    score: float | None


def chances(archive: Sequence[Entry], steepness: float, midpoint: float) -> list[float]:
    """How likely each entry is to be the next parent: sigmoid of its score times 1 / (1 + children), normalised (appendix A.2).

    Children that could not be scored do not count, and are no parents. Raises ValueError where nothing was scored.
    """
    children = [sum(e.variant.parent == entry.variant.number and e.score is not None for e in archive) for entry in archive]
    weights = [
        0.0 if entry.score is None else _sigmoid(steepness * (entry.score - midpoint)) / (1 + count)
        for entry, count in zip(archive, children, strict=True)
    ]
    if not sum(weights):
        raise ValueError("no strategy could be scored")
    return [weight / sum(weights) for weight in weights]


_FARTHEST = 600.0
"""Where a sigmoid is still a number above 0."""


def _sigmoid(x: float) -> float:
    """Of any number; never quite 0, so that far below the midpoint there are still parents, all as likely."""
    return 1 / (1 + math.exp(min(-x, _FARTHEST)))


_EXAMPLE = """Ways to turn a passage into study material, each with the score it got (higher is better), and after it a better way made from it.

Prompt: Summarise the passage.
Format: statements
Samples: 1
Epochs: 5
Learning rate: 0.001
Score: 0.204
Better:
Prompt: List every name, number and date of the passage, and say in one full sentence what each of them is about.
Format: statements
Samples: 2
Epochs: 8
Learning rate: 0.002

"""


def ask(parent: Entry) -> Prompt:
    """What the model is asked for a child: a text to continue, which small models follow better than a request."""
    v = parent.variant
    told = f"Prompt: {v.prompt}\nFormat: {v.format}\nSamples: {v.samples}\nEpochs: {v.epochs}\nLearning rate: {v.lr:g}\nScore: {parent.score:.3f}\n"
    return Prompt(f"{_EXAMPLE}{told}Better:\nPrompt:", continued=True)


def read(turn: Turn, number: int, parent: Variant) -> Variant:
    """The child that was written. Settings it does not name are its parent's; anything else than settings within bounds is a problem, in words."""
    lines = f"Prompt: {turn.completion.strip()}".partition("\n\n")[0].splitlines()
    child = replace(parent, number=number, parent=parent.number, strategy=f"variant-{number}", written=turn.completion, problem="")
    try:
        return replace(child, **_settings(lines[:-1] if turn.finish_reason == "length" else lines))
    except ValueError as error:
        return replace(child, problem=str(error))


def _settings(lines: Sequence[str]) -> dict[str, Any]:
    found: dict[str, str] = {}
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"not a setting: {line.strip()[:80]!r}")
        if match[1] in found:
            raise ValueError(f"{match[1]} is said twice")
        found[match[1]] = match[2].strip()
    if "Prompt" not in found:
        raise ValueError("there is no prompt")
    return {_FIELDS[name]: _READ[name](value) for name, value in found.items()}


def _prompt(text: str) -> str:
    if not PROMPT_CHARACTERS[0] <= len(text) <= PROMPT_CHARACTERS[1] or not text.isprintable():
        raise ValueError(f"a prompt has {PROMPT_CHARACTERS[0]} to {PROMPT_CHARACTERS[1]} printable characters, not {len(text)}")
    return text


def _format(text: str) -> str:
    if text not in ("statements", "questions"):
        raise ValueError(f"Format is statements or questions, not {text[:40]!r}")
    return text


def _whole(name: str, least: int, most: int) -> Any:
    def value(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 4 and least <= int(text) <= most):
            raise ValueError(f"{name} is a whole number from {least} to {most}, not {text[:40]!r}")
        return int(text)

    return value


def _lr(text: str) -> float:
    if not (re.fullmatch(r"\d*\.?\d+(e-\d{1,2})?", text) and LR[0] <= float(text) <= LR[1]):
        raise ValueError(f"Learning rate is a number from {LR[0]:g} to {LR[1]:g}, not {text[:40]!r}")
    return float(text)


_FIELDS = {"Prompt": "prompt", "Format": "format", "Samples": "samples", "Epochs": "epochs", "Learning rate": "lr"}
_READ = {"Prompt": _prompt, "Format": _format, "Samples": _whole("Samples", *SAMPLES), "Epochs": _whole("Epochs", *EPOCHS), "Learning rate": _lr}
