"""Rows that a run makes by itself: what it is about, beside its baselines."""

from __future__ import annotations

from selfedit.baselines.base import Baseline, baseline


class Outcome(Baseline):
    """A row that no recipe asks for; the rows of rounds stand in the table as `round-1`, `round-2` and so on."""

    asked = False


for _name, _label, _means in (
    ("after", "After", "an adapter for each document on its best self-edit, and a gate that chooses between them and the untrained model"),
    ("right_adapter", "The right adapter", "the same adapters, each question put to that of its document: what a perfect gate would reach"),
    ("without_harvest", "Without harvest", "the right adapter, trained on the self-edit alone for as many tokens as with what was harvested"),
    (
        "with_harvest",
        "With harvest",
        "the self-edits of the last row of the policy, with what their adapters answered to fresh questions, trained on for as many tokens",
    ),
    ("untrained_picks", "Untrained picks", "an adapter for each document, on a self-edit of the strategies that the untrained model picked itself"),
    ("cold_start", "After the cold start", "the policy that was shown good self-edits: an adapter for each document on one that it wrote"),
    ("round", "After a round", "the policy after a round of training: an adapter for each document on a self-edit that it wrote"),
    ("vector_alone", "Edit vector alone", "no self-edit: the learned edit vector of each document is added to the policy as it is"),
    (
        "data_and_vector",
        "Self-edits and vector",
        "the self-edits and adapters of the last row of the policy, with the learned edit vector of each document added to its adapter",
    ),
    ("best_strategy", "Best strategy found", "an adapter for each document, on a self-edit written in the way that did best in the search"),
):
    baseline(_name, label=_label, means=_means)(Outcome)
