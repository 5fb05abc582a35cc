"""ReliabilityStudy of rewards: the same self-edits trained with several seeds, and rated by every screen, so that both can be judged before they are used."""

from __future__ import annotations

from collections.abc import Sequence

from selfedit.config import PREFILTERS
from selfedit.loop.rounds import Rounds
from selfedit.types import Proposal, Task

ROUND = 0


class ReliabilityStudy(Rounds):
    """What `selfedit eval --reliability` measures; the figures are drawn from the ledger by `report/reliability.py`."""

    def trials(self, tasks: Sequence[Task]) -> None:
        """K self-edits a task, S adapters of each, and what the screens say of them."""
        policy, settings = self.policy, self.policy.recipe.reliability
        base = self.answer_base("trials/base", tasks, "reward")
        proposals = self.step(
            "trials/edits", Proposal, "Writing self-edits", lambda progress: policy.propose(tasks, ROUND, policy.recipe.propose, progress)
        )
        self.scored("trials/candidates-", tasks, proposals, base, range(settings.seeds))
        for name in settings.screens:
            chosen = policy.recipe.prefilter
            screen = chosen if chosen.type == name else PREFILTERS[name]()
            self.screen(screen.model_copy(update={"keep": 1}), tasks, proposals, base, "trials")
