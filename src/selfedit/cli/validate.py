"""`selfedit validate`: what the untrained model can do, and the model with what it has learned."""

from __future__ import annotations

import importlib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from selfedit.cli.options import Where
from selfedit.errors import ConfigError, SelfeditError
from selfedit.store import runs
from selfedit.system.console import Show

if TYPE_CHECKING:
    from selfedit.integrations.texts import Figure
    from selfedit.library.opening import InForce
    from selfedit.loop.validate import Validated
    from selfedit.retention import Probe

LABELS = {
    "unknown": "says so where it cannot know",
    "format": "answers in the form asked for",
    "turns": "conversation",
    "text": "likelihood of texts",
}
"""Kinds of probes whose name alone does not say what they are."""
HARNESSES = {
    "lm-eval": ("lm_eval", "pip install 'selfedit[eval]'"),
    "helm": ("helm", "pip install 'selfedit[helm]' where trl is not (`make validate-helm` has it in .venv-helm)"),
}
"""Who else may ask: the module, and how it is installed."""


@dataclass(frozen=True)
class Validate:
    """Compare what the model could do before it learned anything with what it can do now.

    Examples:
      selfedit validate                        256 bundled probes of everything in force
      selfedit validate 20260131 --limit 64    fewer of them, of what a run of learn made
      selfedit validate --harness lm-eval --tasks arc_easy --limit 200
      selfedit validate --harness helm --tasks synthetic_reasoning:mode=induction --limit 50

    Each question goes to whoever would answer it in use: the gate lets it in to an adapter, or the untrained model answers. The probes are few and
    easy: they say what this model has lost, and compare it with no other. docs/validation.md.
    """

    run_: Positional[Annotated[str | None, arg(name="run", metavar="[RUN]", help_behavior_hint="")]] = None
    """Ask the adapters of this run of `learn`, in force or not. Without it, everything in force."""
    harness: Literal["own", "lm-eval", "helm"] = "own"
    """Who asks: selfedit, EleutherAI's LM Evaluation Harness (pip install 'selfedit[eval]') or Stanford's HELM (make validate-helm). The probes come
    out the same."""
    tasks: Annotated[tuple[str, ...], arg(metavar="NAME", help_behavior_hint="")] = ()
    """Tasks of lm-eval, or run entries of HELM, in place of the bundled probes; the harness fetches their data, where they have any."""
    limit: Annotated[int, arg(metavar="N", help_behavior_hint="")] = 0
    """Only so many probes, by turns of each kind, or so many items of each task."""
    where: Annotated[Where, arg(name="")] = field(default_factory=Where)
    quiet: bool = False
    """No progress, only the result."""
    json: bool = False
    """The result as one line of JSON on standard output, with every probe."""

    def run(self, args: Sequence[str]) -> int:
        """A table, before beside after."""
        from selfedit.library.force import in_force
        from selfedit.library.opening import library_of, opened
        from selfedit.retention.probes import KINDS, some

        if self.tasks and self.harness == "own":
            raise ConfigError("--tasks are tasks of a harness: add --harness lm-eval or --harness helm")
        if self.limit < 0:
            raise ConfigError("--limit is a number of probes, 0 for all")
        if self.harness != "own":
            _harness(self.harness)
        show, probes = Show(quiet=self.quiet, json=self.json), some(KINDS, self.limit)
        with ExitStack() as stack:
            if self.run_:
                library = stack.enter_context(library_of(runs.find(self.where.root, self.run_, runs.LEARNING)))
            else:
                library = in_force(self.where.root)
            found = stack.enter_context(opened(library, show))
            if self.tasks:
                return self._tasks(found, show)
            return self._print(show, self._probed(found, probes, show))

    def _probed(self, found: InForce, probes: Sequence[Probe], show: Show) -> Validated:
        if self.harness == "own":
            from selfedit.loop.validate import validate

            return validate(found, probes, show)
        from selfedit.integrations.texts import before_and_after
        from selfedit.loop.validate import Validated, puts

        harness = _harness(self.harness)
        models = before_and_after(found, harness.Model)
        with show.stage("Asking the untrained model"), _explained(self.harness):
            before = harness.probed(models[0], probes)
        with show.stage("Asking what was learned"), _explained(self.harness):
            after = harness.probed(models[1], probes)
        inside = tuple(one.id for one, how in zip(probes, puts(found, probes), strict=True) if how.adapter)
        return Validated(found.policy.recipe.model, found.documents, inside, tuple(before), tuple(after))

    def _tasks(self, found: InForce, show: Show) -> int:
        from selfedit.integrations.texts import before_and_after

        harness = _harness(self.harness)
        with show.stage(f"Asking {', '.join(self.tasks)}"), _explained(self.harness):
            rows: list[Figure] = harness.figures(*before_and_after(found, harness.Model), self.tasks, self.limit)
        if self.json:
            print(json.dumps({"model": found.policy.recipe.model, "documents": found.documents, "results": [asdict(one) for one in rows]}))
            return 0
        show.line()
        show.table(["task", "metric", "before", "after"], [_figure(one) for one in rows], words=(0, 1))
        return 0

    def _print(self, show: Show, found: Validated) -> int:
        if self.json:
            print(json.dumps(_as_json(found, self.harness), ensure_ascii=False))
            return 0
        show.line()
        show.line(_sentence(found))
        show.line()
        show.table(["probes", "number", "before", "after", "change", "95 % interval"], _rows(found))
        return 0


def _sentence(found: Validated) -> str:
    """How many were let in."""
    from selfedit.report.words import plural

    count, of = len(found.let_in), len(found.before)
    documents = plural(found.documents, "document")
    if not count:
        return f"{found.model} with {documents} learned: the gate let none of {of} probes in, so that every answer is the untrained model's."
    return f"{found.model} with {documents} learned: the gate let {count} of {of} probes in to an adapter; the untrained model answers all others."


def _rows(found: Validated) -> list[list[str]]:
    from selfedit.report.words import percent, points, points_range, signed, signed_range

    rows = []
    for kind, one in found.changes.items():
        name, change = LABELS.get(kind, kind), one.change
        if kind == "text":
            figures = [f"{one.before:.3f}".replace("-", "−"), f"{one.after:.3f}".replace("-", "−"), signed(change.mean), signed_range(change)]
            name += " (nats a token)"
        else:
            figures = [percent(one.before), percent(one.after), points(change.mean), points_range(change)]
        rows.append([name + (f", {one.lost} lost" if one.lost else ""), str(one.n), *figures])
    return rows


def _as_json(found: Validated, harness: str) -> dict[str, Any]:
    """Figures by kind, and every probe with what came of it before and after."""
    from selfedit.report.words import plain

    pairs = zip(found.before, found.after, strict=True)
    return {
        "model": found.model,
        "documents": found.documents,
        "harness": harness,
        "let_in": list(found.let_in),
        "results": {kind: plain(asdict(one)) | {"unit": "nats a token" if kind == "text" else "share"} for kind, one in found.changes.items()},
        "probes": [
            {"id": b.id, "kind": b.kind, "let_in": b.id in found.let_in, "before": b.value, "after": a.value, "said": [b.said, a.said]}
            for b, a in pairs
        ],
    }


def _figure(one: Figure) -> list[str]:
    pairs = ((one.before, one.error_before), (one.after, one.error_after))
    figures = [f"{value:.4f}" + (f" ± {error:.4f}" if error is not None and math.isfinite(error) else "") for value, error in pairs]
    return [one.task, one.metric, *figures]


def _harness(name: str) -> ModuleType:
    """Our side of a harness. Raises ConfigError where the harness is missing."""
    module, install = HARNESSES[name]
    logging.getLogger(module).setLevel(logging.ERROR)
    try:
        return importlib.import_module(f"selfedit.integrations.{module}")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{name} is not installed: {install}; or leave --harness out") from error


@contextmanager
def _explained(harness: str) -> Iterator[None]:
    """What the harness cannot do, in one line: a task that it does not know, or data that it cannot fetch."""
    try:
        yield
    except (SelfeditError, KeyboardInterrupt):
        raise
    except Exception as error:  # it raises anything
        raise ConfigError(f"{harness} cannot run this: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}") from error
