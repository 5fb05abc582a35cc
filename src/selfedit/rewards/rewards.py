"""The reward that a recipe asks for: what it needs to be measured, and what it then says."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from selfedit.config import UNIONS, Choice, Correctness, Judge, Likelihood, Majority, Mix, Perplexity, PythonFunction, RewardSettings
from selfedit.rewards import judge as llm
from selfedit.rewards import python as own
from selfedit.rewards.answers import choice, correctness, likelihood, mix
from selfedit.rewards.base import Measured, Memory, Needs
from selfedit.rewards.majority import majority
from selfedit.rewards.perplexity import perplexity, withheld, without
from selfedit.types import Example, Reward, SelfEdit, Task

REWARDS = {name: inspect.cleandoc(kind.__doc__ or "") for name, kind in UNIONS["reward"].items()}
"""Every reward, with what it is."""


def needs(settings: RewardSettings) -> Needs:
    """What has to be measured. Greedy answers and the likelihood of gold ones are cheap beside training: where one is needed, both are recorded."""
    match settings:
        case Likelihood() | Mix():
            return Needs(answers=True, gold=True, form=settings.of)
        case Choice():
            return Needs(answers=True, gold=True, form="choice")
        case Correctness() | Judge():
            return Needs(answers=True, gold=True)
        case PythonFunction():
            return Needs(answers=True)
        case Majority():
            return Needs(samples=settings.samples, temperature=settings.temperature)
        case Perplexity():
            return Needs(texts=True)


def reward(settings: RewardSettings, measured: Sequence[Measured], memory: Memory) -> list[Reward]:
    """Rewards of candidates, in their order; whole groups (all candidates of a task that could be trained), because some compare within one."""
    match settings:
        case Correctness():
            return [correctness(m.answers) for m in measured]
        case Likelihood():
            return [likelihood(m.answers, m.base_answers) for m in measured]
        case Choice():
            return [choice(m.answers) for m in measured]
        case Mix():
            return [mix(settings, m.answers, m.base_answers) for m in measured]
        case Perplexity():
            return [perplexity(m.texts, m.texts_before) for m in measured]
        case Majority():
            groups = [[i for i, m in enumerate(measured) if m.task.id == task] for task in {m.task.id for m in measured}]
            found = {i: r for group in groups for i, r in zip(group, majority(settings, [measured[i] for i in group]), strict=True)}
            return [found[i] for i in range(len(measured))]
        case Judge():
            return llm.judge(settings, measured, memory)
        case PythonFunction():
            function = own.find(settings)
            return [own.python(settings, function, m) for m in measured]


def material(settings: RewardSettings, task: Task, edit: SelfEdit) -> tuple[Example, ...]:
    """What an adapter is trained on while self-edits are compared: the whole self-edit, unless the reward has to withhold a part."""
    return without(settings, task, edit) if isinstance(settings, Perplexity) else edit.examples


def texts(settings: RewardSettings, task: Task) -> tuple[str, ...]:
    """The texts whose likelihood is measured."""
    return withheld(settings, task) if isinstance(settings, Perplexity) else ()


def check(settings: RewardSettings) -> dict[str, str]:
    """What a reward depends on beyond the recipe, for the ledger's notes. Raises ConfigError where something it needs is not there."""
    if isinstance(settings, Judge):
        llm.check(settings)
        return {"type": "judge", "judge": llm.name(settings)}
    if isinstance(settings, PythonFunction):
        return {"type": "python", "function": settings.function, "sha256": own.fingerprint(settings)}
    return {"type": settings.type}
