"""`selfedit eval --reliability`: the same self-edits trained with several seeds and rated by every prefilter, so that both can be judged before use.

The figures are made from the ledger by `report/reliability.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfedit import parts
from selfedit.loop.begin import check_lengths
from selfedit.loop.prefilter import rated
from selfedit.loop.round import adapt_and_score, answer_base, scored
from selfedit.loop.run import Run
from selfedit.policy import proposing
from selfedit.prefilters import Base, Prefilter
from selfedit.types import Passage, Progress, Proposal, Rating, Task

ROUND = 0


def study_reliability(run: Run, passages: Sequence[Passage]) -> None:
    """K self-edits a task, S adapters of each, and what the prefilters say of them."""
    policy, settings = run.policy, run.recipe.reliability
    check_lengths(run, passages)
    tasks = run.step("tasks", Task, "Preparing questions", lambda progress: policy.domain.tasks(policy, passages, "train", progress, gold=True))
    base = answer_base(run, "trials/base", tasks, "reward")
    edits = run.step(
        "trials/edits", Proposal, "Writing self-edits", lambda progress: proposing.propose(policy, tasks, ROUND, run.recipe.propose, progress)
    )
    scored(run, tasks, edits, base, "trials/candidates-", seeds=range(settings.seeds))
    for name in settings.prefilters:
        prefilter = _opened(run, name)
        if prefilter.epochs:
            by_short_training(run, prefilter, prefilter.epochs, tasks, edits, base)
        else:
            rated(run, prefilter, tasks, edits, base, "trials")


def by_short_training(run: Run, prefilter: Prefilter, epochs: int, tasks: Sequence[Task], edits: Sequence[Proposal], base: Base) -> None:
    """The recipe's reward after fewer epochs, with a seed that no reward it is compared with has had."""
    kind, unused = prefilter.settings.part, (run.recipe.reliability.seeds,)

    def rate(some: Sequence[Proposal], progress: Progress) -> list[Rating]:
        candidates = adapt_and_score(run.policy, tasks, some, base, run.ledger, unused, epochs=epochs, progress=progress)
        return [Rating(*c.proposal.key, kind, 0, c.reward.value) for c in candidates]

    run.steps(f"trials/{kind}-0-", Rating, f"Rating self-edits ({kind.replace('_', ' ')})", edits, rate)


def _opened(run: Run, name: str) -> Prefilter:
    """The prefilter with the recipe's settings where they are its own, else with its defaults, of every group only the best."""
    chosen = run.recipe.prefilter
    settings = chosen if chosen.part == name else parts.KINDS["prefilter"].get(name).settings()
    opened: Prefilter = parts.KINDS["prefilter"].open(settings.model_copy(update={"keep": 1} if "keep" in type(settings).model_fields else {}))
    return opened
