"""The command line: parse, call, print. Each command is a dataclass in a file of its group; only the one that is called is imported."""

from __future__ import annotations

import difflib
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import import_module

from selfedit import __version__
from selfedit.errors import ConfigError, SelfeditError
from selfedit.system import interrupts as stop

COMMANDS = {
    "demo": ("work", "Demo"),
    "learn": ("work", "Learn"),
    "ask": ("use", "Ask"),
    "validate": ("validate", "Validate"),
    "report": ("look", "Report"),
    "runs": ("look", "Runs"),
    "show": ("look", "Show"),
    "log": ("library", "Log"),
    "diff": ("library", "Diff"),
    "rollback": ("library", "Rollback"),
    "forget": ("library", "Forget"),
    "consolidate": ("library", "Consolidate"),
    "export": ("use", "Export"),
    "dataset": ("use", "Dataset"),
    "train": ("work", "Train"),
    "eval": ("work", "Eval"),
    "pull": ("setup", "Pull"),
    "doctor": ("setup", "Doctor"),
}
"""File and class of each command."""

HELP = """\
selfedit: a language model reads your documents, writes its own training data, trains on it,
is tested, and keeps what helped (SEAL, arXiv 2506.10943).

Begin here:
  selfedit doctor                    check whether this machine has what is needed
  selfedit demo                      learn a few bundled documents and see what came of it
  selfedit learn notes.md docs/      learn your own; what was learned before stays as it was
  selfedit ask "Who built the mill?" ask it, with and without what it learned
  selfedit report                    the whole story of the last run, as one HTML file
  selfedit log                       what it has learned; `rollback` takes the last thing back

Commands:
  learn      learn documents, and measure what was learned and what was forgotten
  ask        answer with the learned adapter and, beside it, without
  validate   compare abilities before and after: the bundled probes, or tasks of lm-eval or HELM
  report     of a run, or of the library    runs       list the runs
  show       look into a run, or list strategies, models and the settings of a recipe
  log        what was learned, by version   diff       what two versions have and have not
  rollback   back to an earlier version     forget     take single documents out
  consolidate  one adapter in place of the many that know a document each
  export     copy adapters, in PEFT's format
  dataset    write a run's self-edits for other trainers
  train      reinforcement learning: the model learns to write better self-edits
  eval       measure strategies, or a trained policy, on documents nobody trained on
  demo       a first run on bundled documents
  pull       fetch a model                  doctor     check this machine

Every command explains itself: selfedit learn --help
Settings: --debug shows tracebacks (or SELFEDIT_DEBUG=1); SELFEDIT_RUNS is where runs live (default: ./runs),
SELFEDIT_CACHE where models are kept.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. An error is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character shows another, and ends no run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or os.environ.get("SELFEDIT_DEBUG") == "1"
    args = [each for each in args if each != "--debug"]
    try:
        with stop.listening(), stop.heard():
            return _run(args)
    except SystemExit as stopped:  # after --help
        return stopped.code if isinstance(stopped.code, int) else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if debug:
            traceback.print_exc()
        message, code = _explain(error)
        from selfedit.system.console import harmless

        print(f"selfedit: {harmless(message)}", file=sys.stderr)
        return code


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if args else 2
    if args[0] == "--version":
        print(f"selfedit {__version__}")
        return 0
    name, *rest = args
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.0)[0]
        raise ConfigError(f"no command '{name}'; the nearest is '{near}' (selfedit --help lists them)")
    from selfedit.cli.flags import with_flags
    from selfedit.cli.parse import parse

    module, kind = COMMANDS[name]
    command = with_flags(getattr(import_module(f"selfedit.cli.{module}"), kind), rest)
    code: int = parse(command, name, rest).run(rest)
    sys.stdout.flush()
    return code


def _explain(error: BaseException) -> tuple[str, int]:
    """What went wrong in one line, and the exit code."""
    from selfedit.store.runs import describe, is_full

    if isinstance(error, SelfeditError):
        return " ".join(str(error).split()), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "stopped", 130
    if is_full(error):
        return f"no room left on the disk: free some space and try again ({error})", 1
    descriptor, log = tempfile.mkstemp(prefix="selfedit-error-", suffix=".log")  # a file of our own, whatever lies in the shared folder
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(error)))
    return f"{describe(error)} (the traceback is in {log})", 70
