"""What `python -m benchmarks` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Command:
    """The engine beside what one would run instead: real libraries, alternated in one process, ratios last."""

    only: Annotated[str, tyro.conf.arg(metavar="NAME,NAME")] = ""
    """Which benchmarks, as in training,scoring; all where nothing is given."""
    quick: bool = False
    """Less of everything: to see that it works, not to report."""
    device: str = "cpu"
    """cpu, or cuda: ratios are then of wall-clock seconds."""
    model: str = "smollm2-135m"
    """A model selfedit can find, or random weights that need no download: random-135m, random-1b, random-7b."""
    graphs: Literal["auto", "off"] = "auto"
    """The engine's setting of this name: off to compare."""
    seed: int = 0
    """Of the data and every draw."""
    output: Path | None = None
    """Where the results are. By default beside the code: results.json, or a name of its own for another device or model."""

    @property
    def results(self) -> Path:
        """The file that the rows go to."""
        usual = (self.device, self.model) == (Command.device, Command.model)
        name = "results.json" if usual else f"results-{self.device.replace(':', '-')}-{Path(self.model).name}.json"
        return self.output or Path(__file__).with_name(name)
