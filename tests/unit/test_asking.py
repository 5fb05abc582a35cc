"""Which learned topic a question is about."""

from __future__ import annotations

from selfedit.store.ask import choose_topic
from selfedit.types import Task

TASKS = [
    Task("1", "Tolmet Weir", "It was built by Hedda Ruskin from grey slate. The town is near."),
    Task("2", "The Society of Lamplighters", "The society of the town opens the gate in spring."),
    Task("3", "Weir keepers", "They keep the weir. Nobody knows since when."),
]


def test_words_in_common_choose() -> None:
    assert choose_topic("How long is Tolmet Weir?", TASKS) == "Tolmet Weir"
    assert choose_topic("When do the lamplighters of the town open the gate?", TASKS) == "The Society of Lamplighters"
    assert choose_topic("What did Hedda Ruskin build?", TASKS) == "Tolmet Weir"


def test_none_fits() -> None:
    assert choose_topic("xyzzy?", TASKS) == "" == choose_topic("Anything?", [])
