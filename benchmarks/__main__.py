"""Benchmarks: `python -m benchmarks`. Every finished benchmark is written to the results at once, in the place of its older figures."""

from __future__ import annotations

import tyro

from benchmarks.command import Command
from selfedit.system.process import tune


def main() -> None:
    """Measure, write, show."""
    command = tyro.cli(Command, prog="python -m benchmarks", description=Command.__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    tune()  # before torch loads; the contestants profit from it too
    from benchmarks.run import run

    run(command)


if __name__ == "__main__":
    main()
