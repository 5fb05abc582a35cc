"""Adapters of candidates that are kept while a run goes on, so that the chosen ones need not be trained again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selfedit.disk import sync_whole
from selfedit.types import Trained, TrainJob

if TYPE_CHECKING:
    from selfedit.engine.base import Engine

MOST = 64
"""Adapters on the shelf at most: some hundred MB of a small model. Of a longer run the others are trained again."""


class Shelf:
    """A folder of adapters by what they were trained on: the same job gives the same adapter, to the bit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def room(self) -> int:
        """How many more are kept."""
        return max(0, MOST - len(list(self.folder.iterdir()))) if self.folder.is_dir() else MOST

    def put(self, engine: Engine, jobs: Sequence[TrainJob], trained: Sequence[Trained]) -> None:
        """Keep what was trained, as far as there is room; not what depends on other adapters, which have no names outside the engine."""
        for job, one in zip(jobs, trained, strict=True):
            place = self._place(job)
            if one.adapter is None or job.uses or place.is_dir() or self.room < 1:
                continue
            draft = place.with_suffix(".new")
            shutil.rmtree(draft, ignore_errors=True)
            engine.export(one.adapter, draft)
            sync_whole(draft)
            draft.rename(place)

    def find(self, job: TrainJob) -> Path | None:
        """The adapter of this job, where it is kept."""
        place = self._place(job)
        return place if place.is_dir() and not job.uses else None

    def clear(self) -> None:
        """Nothing is kept any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, job: TrainJob) -> Path:
        return self.folder / hashlib.sha256(repr(job).encode()).hexdigest()[:32]
