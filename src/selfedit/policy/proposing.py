"""How a policy writes self-edits: strategies are picked, settings chosen, all is written in one call, and what was said becomes self-edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from selfedit.directives import Space
from selfedit.grouping import grouped
from selfedit.policy.directing import Directed, Subject, answered, as_object, slot
from selfedit.policy.seeds import derive
from selfedit.strategies import Source, Strategy, drawn, joined, parts
from selfedit.types import Progress, Prompt, Proposal, SampleRequest, SelfEdit, Task, Turn

if TYPE_CHECKING:
    from selfedit.config import Propose
    from selfedit.policy.policy import Policy


@dataclass(frozen=True, slots=True)
class Plan:
    """Self-edit number `index` of a task before it is written: a `choice` of strategies, and what will be asked for each.

    `chosen` is the turn in which the policy picked the choice, if it did.
    """

    task: Task
    index: int
    seed: int
    choice: str
    chosen: tuple[Turn, ...]
    strategies: tuple[tuple[Strategy, tuple[Prompt, ...]], ...]


def propose(
    policy: Policy, tasks: Sequence[Task], number: int, settings: Propose, progress: Progress | None = None, first: int = 0, given: Sequence[str] = ()
) -> list[Proposal]:
    """K self-edits of every task in round `number`, (P·K,) task by task, numbered from `first`, all in one call.

    The strategies are those `given`, one for each self-edit, or else taken in turn or picked by the policy, as the settings say.
    """
    plans = _plans(policy, tasks, number, settings, first, given)
    directed = _directed(policy, plans, settings)
    asked = [(i, place, prompt) for i, plan in enumerate(plans) for place, (_, prompts) in enumerate(plan.strategies) for prompt in prompts]
    numbers = _numbered([i for i, _, _ in asked])
    requests = [
        SampleRequest(policy.render.prompt(prompt), policy.sampling(settings, prompt, derive(plans[i].seed, n)))
        for (i, _, prompt), n in zip(asked, numbers, strict=True)
    ]
    written = zip(asked, policy.sample(requests, progress), strict=True)
    turns = grouped(((i, place), Turn(prompt, c.text, c.finish_reason, c.tokens)) for (i, place, prompt), c in written)
    proposals = []
    for i, (plan, said) in enumerate(zip(plans, directed, strict=True)):
        task, own = plan.task, [turns.get((i, place), []) for place in range(len(plan.strategies))]
        edits = [s.build(task.title, task.context, some, plan.seed) for (s, _), some in zip(plan.strategies, own, strict=True)]
        edit = policy.checked(task, _with(policy, task, joined(plan.choice, plan.chosen, edits), said))
        proposals.append(Proposal(plan.task.id, number, plan.index, plan.seed, edit))
    return proposals


def _plans(policy: Policy, tasks: Sequence[Task], number: int, settings: Propose, first: int, given: Sequence[str]) -> list[Plan]:
    """One for each self-edit. Where there are more choices than candidates, tasks begin with different ones, so that all get their turn."""
    choices, indices, K = settings.choices, range(settings.candidates), policy.recipe.propose.candidates
    preferred = policy.preferences(tasks, settings) if settings.policy_picks and not given else {}
    begin = {task.id: policy.seed("turn", number, task.id, first) if len(choices) > K else 0 for task in tasks}
    named = given or [choices[(begin[task.id] + index) % len(choices)] for task in tasks for index in indices]
    same = policy.recipe.open("algorithm").same_prompts
    plans = []
    for (task, index), name in zip(product(tasks, indices), named, strict=True):
        seed = policy.seed("edit", number, task.id, first + index)
        chosen = (drawn(preferred[task.id], derive(seed, "pick")),) if preferred else ()
        choice = chosen[0].completion.strip() if chosen else name
        source = Source(task.title, task.context, policy.chat, policy.seed("prompts", number, task.id) if same else seed, settings.spans)
        asked = tuple((strategy, strategy.ask(source)) for strategy in map(policy.strategy, parts(choice)))
        plans.append(Plan(task, first + index, seed, choice, chosen, asked))
    return plans


def _directed(policy: Policy, plans: Sequence[Plan], settings: Propose) -> list[Directed]:
    """What the policy sets itself for each planned self-edit; nothing where the recipe names no directives."""
    space = policy.recipe.space.only(settings.directives)
    if not space.directives:
        return [Directed()] * len(plans)
    ways = [" ".join(strategy.means for strategy, _ in plan.strategies) for plan in plans]
    subjects = [Subject(plan.task.title, plan.task.context, way, policy.chat, policy.domain.aim) for plan, way in zip(plans, ways, strict=True)]
    if settings.directives_as == "slots":
        return _in_slots(policy, plans, subjects, space, settings.sampling.temperature)
    prompts = [as_object(space, subject) for subject in subjects]
    requests = [
        SampleRequest(policy.render.prompt(prompt), policy.sampling(settings, prompt, derive(plan.seed, "directives")))
        for prompt, plan in zip(prompts, plans, strict=True)
    ]
    written = zip(prompts, policy.sample(requests), strict=True)
    return [answered(space, Turn(prompt, found.text, found.finish_reason, found.tokens)) for prompt, found in written]


def _in_slots(policy: Policy, plans: Sequence[Plan], subjects: Sequence[Subject], space: Space, temperature: float) -> list[Directed]:
    """One directive after the other, each drawn from its alternatives, given those before it."""
    found = [Directed()] * len(plans)
    for directive in space.directives:
        asked = [slot(directive, subject, before.directives) for subject, before in zip(subjects, found, strict=True)]
        weighed = policy.weigh({turns[0].prompt: turns for turns in asked}, temperature)
        for i, (plan, turns) in enumerate(zip(plans, asked, strict=True)):
            turn = drawn(weighed[turns[0].prompt], derive(plan.seed, "directive", directive.name))
            value = dict(zip([one.completion for one in turns], directive.values, strict=True))[turn.completion]
            found[i] = Directed((*found[i].turns, turn), (*found[i].directives, (directive.name, value)))
    return found


def _with(policy: Policy, task: Task, edit: SelfEdit, said: Directed) -> SelfEdit:
    """A self-edit with the directives that the policy set for it, and with the turns in which it did, before the writing."""
    if not said.turns:
        return edit
    turns = (*edit.decisions, *said.turns, *edit.writing)
    return policy.directed(task, replace(edit, turns=turns, directive_turns=len(said.turns), problem=said.problem), said.directives)


def _numbered(keys: Sequence[int]) -> list[int]:
    """How many equal keys stand before each: 5, 5, 7, 5 → 0, 1, 0, 2."""
    seen: dict[int, int] = {}
    numbers = []
    for key in keys:
        numbers.append(seen.get(key, 0))
        seen[key] = numbers[-1] + 1
    return numbers
