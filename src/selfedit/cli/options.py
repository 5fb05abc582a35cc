"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from selfedit.store import runs
from selfedit.system.console import Show

RunsFolder = Annotated[Path | None, arg(name="runs", metavar="FOLDER", help_behavior_hint="(default: ./runs, or SELFEDIT_RUNS)")]


@dataclass(frozen=True)
class Where:
    """Where runs are."""

    folder: RunsFolder = None
    """Where the runs live."""

    @property
    def root(self) -> Path:
        """The folder of all runs."""
        return runs.root(self.folder)


@dataclass(frozen=True)
class Output(Where):
    """Where runs are, and what is printed."""

    resume: Annotated[str | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """Go on with a run that was stopped: its id, the beginning of it, or `latest`. It keeps the settings it began with."""
    quiet: bool = False
    """No progress, only the result."""
    json: bool = False
    """The result as one line of JSON on standard output, everything else on standard error."""

    @property
    def show(self) -> Show:
        """Who prints."""
        return Show(quiet=self.quiet, json=self.json)
