"""A place to type commands in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from selfedit import parts
from selfedit.cli import main
from selfedit.ledger import Reader

CORPUS = Path(str(files("selfedit").joinpath("data/corpus.jsonl")))
QUICK = ("--engine", "fake", "--limit", "3", "--propose.candidates", "2")


def baselines() -> list[str]:
    """Every baseline that the recipe without a word can ask for, in the order of the table."""
    parts.load()
    built = {entry.name: entry.build(entry.settings()) for entry in parts.KINDS["baseline"] if not entry.name.endswith("_directives")}
    return sorted((name for name, one in built.items() if one.asked), key=lambda name: (built[name].when == "after", built[name].place))


@dataclass(frozen=True)
class House:
    """Commands typed in a folder of their own; what they printed."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def type(self, *args: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self.capture.readouterr()
        code = main([*args])
        out, err = self.capture.readouterr()
        return code, out, err

    def fine(self, *args: str) -> str:
        """Standard output of a command that has to work."""
        code, out, err = self.type(*args)
        assert code == 0, err
        return out

    def refused(self, *args: str) -> str:
        """The one line of a command that has to fail, with its exit code in front."""
        code, out, err = self.type(*args)
        lines = [line for line in err.splitlines() if not line.startswith(("  ", "✓ "))]  # but for a stage that took long enough to be told of
        assert code != 0 and not out, (out, err)
        assert len(lines) == 1 and lines[0].startswith("selfedit: "), err
        return f"{code} {lines[0].removeprefix('selfedit: ')}"

    def learn(self, *more: str) -> dict[str, Any]:
        """The JSON of a quick run."""
        found: dict[str, Any] = json.loads(self.fine("learn", str(CORPUS), *QUICK, "--json", "--quiet", *more).splitlines()[-1])
        return found

    def reader(self, run: str) -> Reader:
        """A run's ledger."""
        return Reader(self.folder / "runs" / run)


Typing = Callable[..., tuple[int, str, str]]
