"""Final adapters of `learn` are trained beside the rows of the table, in one call, and are those that are trained without such rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from selfedit import api
from selfedit.engine.fake import Fake
from selfedit.ledger import Reader
from selfedit.types import Progress, Trained, TrainJob


def learned(folder: Path, baselines: Sequence[str], calls: list[int]) -> list[str]:
    """The digests of the final adapters, one for both documents; `calls` are then the numbers of jobs that were trained together."""
    calls.clear()
    run = api.demo(engine="fake", limit=2, library={"group": 0}, eval={"baselines": baselines}, folder=folder)
    with Reader(run.folder) as reader:
        return [one.sha256 for one in reader.artifacts()]


def test_final_adapters_beside_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    train = Fake.train

    def noted(machine: Fake, jobs: Sequence[TrainJob], progress: Progress | None = None) -> list[Trained]:
        calls.extend([len(jobs)] if jobs else [])
        return train(machine, jobs, progress)

    monkeypatch.setattr(Fake, "train", noted)
    alone = learned(tmp_path / "alone", (), calls)
    assert len(alone) == 1 and calls[1:] == [1]
    assert learned(tmp_path / "beside", ("passage_only",), calls) == alone and calls[1:] == [2]
    monkeypatch.setattr("selfedit.policy.shelf.MOST", 0)
    assert learned(tmp_path / "no-room", ("passage_only",), calls) == alone and calls[1:] == [1, 1]
