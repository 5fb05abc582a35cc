"""Rows that a run makes by itself: what it is about, beside its baselines."""

from __future__ import annotations

from selfedit.baselines.base import Baseline, baseline


class Outcome(Baseline):
    """A row that no recipe asks for."""

    asked = False


@baseline(
    "after", label="After", means="an adapter for each document on its best self-edit, and a gate that chooses between them and the model as it came"
)
class After(Outcome):
    """What `learn` comes to."""


@baseline(
    "right_adapter", label="The right adapter", means="the same adapters, each question put to that of its document: what a perfect gate would reach"
)
class RightAdapter(Outcome):
    """What a perfect gate would reach."""


@baseline(
    "without_harvest",
    label="Without harvest",
    means="the right adapter, trained on the self-edit alone for as many tokens as with what was harvested",
)
class WithoutHarvest(Outcome):
    """What the adapters' own answers to fresh questions add."""


@baseline(
    "with_harvest",
    label="With harvest",
    means="the self-edits of the last row of the policy, with what their adapters answered to fresh questions, trained on for as many tokens",
)
class WithHarvest(Outcome):
    """What the adapters' own answers add to the self-edits of a trained policy."""


@baseline(
    "untrained_picks",
    label="Untrained picks",
    means="an adapter for each document, on a self-edit of the strategies that the model as it came picked itself",
)
class UntrainedPicks(Outcome):
    """What training begins with where the policy picks."""


@baseline(
    "cold_start",
    label="After the cold start",
    means="the policy that was shown good self-edits: an adapter for each document on one that it wrote",
)
class ColdStart(Outcome):
    """The policy before its first round."""


@baseline("round", label="After a round", means="the policy after a round of training: an adapter for each document on a self-edit that it wrote")
class AfterRound(Outcome):
    """`round-1`, `round-2` and so on stand in the table."""


@baseline("vector_alone", label="Edit vector alone", means="no self-edit: the learned edit vector of each document is added to the policy as it is")
class VectorAlone(Outcome):
    """The skill without the knowledge."""


@baseline(
    "data_and_vector",
    label="Self-edits and vector",
    means="the self-edits and adapters of the last row of the policy, with the learned edit vector of each document added to its adapter",
)
class DataAndVector(Outcome):
    """What training both kinds comes to."""


@baseline(
    "best_strategy", label="Best strategy found", means="an adapter for each document, on a self-edit written in the way that did best in the search"
)
class BestStrategy(Outcome):
    """What a search came to."""
