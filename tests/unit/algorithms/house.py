"""Whole runs of `train` with the fake engine, in this process; they can be interrupted where any step begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.unit.loop.house import Silent

from selfedit.config import Recipe, parse_recipe
from selfedit.engine.fake import Fake
from selfedit.ledger import Ledger
from selfedit.loop import Run, train_policy
from selfedit.policy import Policy

Engine = Callable[[], Fake]


def recipe(algorithm: dict[str, object], **more: object) -> Recipe:
    """Three passages, likelihood as the reward (it differs within every group), the fake engine."""
    values = {"engine": {"type": "fake"}, "reward": {"type": "likelihood"}, "algorithm": algorithm, "limit": 3, "rounds": 2, "chunk": 4}
    return parse_recipe(values | {"propose": {"strategies": ["self-qa"], "candidates": 4}} | more)


def train(folder: Path, settings: Recipe, stop_at: int = -1, engine: Engine = Fake) -> int:
    """Begin or take up a run; `stop_at` interrupts it within that step of those still to be computed. Returns how many were computed."""
    return trained(folder, settings, stop_at, engine)[0]


def trained(folder: Path, settings: Recipe, stop_at: int = -1, engine: Engine = Fake) -> tuple[int, Policy]:
    """As `train`, with the policy as the run left it."""
    begun = 0

    def after() -> None:
        nonlocal begun
        begun += 1
        if begun == stop_at:
            raise KeyboardInterrupt  # the work is done, its record is not

    held = Ledger.open(folder) if (folder / "ledger.db").exists() else Ledger.create(folder, command="train", recipe=settings, environment={})
    domain = settings.open("domain")
    with held as ledger:
        policy = Policy(engine(), settings, lambda trained, written: ledger.count(train_tokens=trained, sample_tokens=written))
        learned, held_out = (domain.read(settings, (), split, lambda text: None) for split in ("train", "heldout"))
        good = domain.demonstrations(settings, ()) if settings.cold_start.enabled else []
        train_policy(Run(policy, ledger, Silent(after)), learned, held_out, good)
        ledger.finish()
    return begun, policy
