"""Run folders: one for each run, named by time, below `./runs`. Begun, found again by any name a user may give, and taken up."""

from __future__ import annotations

import difflib
import errno
import os
import secrets
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from selfedit.config import Recipe
from selfedit.errors import ConfigError, DataError, EngineError, Interrupted, LedgerError, ModelError, SelfeditError
from selfedit.ledger import Ledger, Reader, runs
from selfedit.ledger.database import FILE
from selfedit.system import environment
from selfedit.system import interrupts as stop

LOG = "error.log"
COMMANDS = ("learn", "train", "eval", "demo", "consolidate")
"""The commands that make runs."""
LEARNING = ("learn", "demo", "consolidate")
"""Those whose runs leave adapters that know documents."""


def root(given: Path | str | None = None) -> Path:
    """Where runs live: what was given, else SELFEDIT_RUNS, else `./runs`."""
    return Path(given) if given else Path(os.environ.get("SELFEDIT_RUNS") or "runs").expanduser()


# ------------------------------------------------------------ finding


def find(where: Path, name: str, commands: Sequence[str] = COMMANDS) -> Path:
    """The folder of a run: `latest` (of these commands), an id, the unique beginning of one, or a path. Raises LedgerError naming the nearest."""
    known = {run.id: run for run in runs(where)}
    if name == "latest":
        latest = next((run.id for run in known.values() if run.command in commands), None)
        if latest is None:
            raise LedgerError(f"no run in {where} yet" if commands == COMMANDS else f"no run of `selfedit {commands[0]}` in {where} yet")
        return where / latest
    if name in known:
        return where / name
    fitting = [run for run in known if name and run.startswith(name)]
    if len(fitting) > 1:
        raise LedgerError(f"'{name}' may be {' or '.join(sorted(fitting)[:3])}: give more of the id")
    if fitting:
        return where / fitting[0]
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    raise LedgerError(f"no run '{name}' in {where}" + (f"; the nearest is '{near[0]}'" if near else ": there is none at all yet"))


# ------------------------------------------------------------ beginning and taking up


@contextmanager
def begun(where: Path, command: str, recipe: Recipe) -> Iterator[Ledger]:
    """Work in a new run. One that fails before its first finished step, for a reason the user has to mend elsewhere, leaves no folder behind."""
    folder = _free(where, command)
    try:
        with _held(folder, command, lambda: Ledger.create(folder, command=command, recipe=recipe, environment=environment.record())) as ledger:
            yield ledger
    except (ConfigError, DataError, EngineError, ModelError):
        if not _steps(folder):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # other runs are there
                where.rmdir()
        raise


@contextmanager
def taken_up(where: Path, name: str, command: str) -> Iterator[Ledger]:
    """Work in a run that this command began before. A demo may be taken up by `learn`."""
    mine = ("learn", "demo") if command == "learn" else (command,)
    folder = find(where, name, mine)
    with Reader(folder) as reader:
        before = reader.info().command
    if before not in mine:
        raise ConfigError(f"run {folder.name} was begun by `selfedit {before}`; resume it with: selfedit {before} --resume {folder.name}")
    with _held(folder, command, lambda: Ledger.open(folder)) as ledger:
        yield ledger


def _free(where: Path, command: str) -> Path:
    """A folder that is not there yet."""
    folder = where / f"{datetime.now():%Y%m%d-%H%M%S}-{command}-{secrets.token_hex(2)}"
    return _free(where, command) if folder.exists() else folder


@contextmanager
def _held(folder: Path, command: str, opened: Callable[[], Ledger]) -> Iterator[Ledger]:
    """Whatever ends work early leaves as an error of one line that says how to go on."""
    again = f"selfedit {'learn' if command == 'demo' else command} --resume {folder.name}"
    try:
        with opened() as ledger, stop.heard():
            yield ledger
    except KeyboardInterrupt as error:
        to_go_on = f"; everything finished is kept; resume with: {again}" if (folder / FILE).exists() else ""
        raise Interrupted(f"stopped{to_go_on}") from error
    except SelfeditError:
        raise
    except Exception as error:
        if is_full(error):
            raise LedgerError(f"no room left on the disk: free some space, then go on with: {again}") from error
        if not folder.is_dir():  # the run has not begun
            raise
        log = folder / LOG
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        raise Unexpected(f"{describe(error)} (the traceback is in {log}; everything finished is kept, to try again: {again})") from error


class Unexpected(SelfeditError):
    """A bug, or something nobody thought of: its traceback was written to a file."""

    exit_code = 70


def is_full(error: BaseException) -> bool:
    """Whether an error, or one it came from, is a full disk, in any of the words it is said in."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if any(words in str(cause) for words in ("No space left on device", "os error 28", "database or disk is full")):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def describe(error: BaseException) -> str:
    """An error nobody planned for, in one line."""
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"unexpected {type(error).__name__}: {first}"


def _steps(folder: Path) -> int:
    """Finished steps; none where there is no ledger yet."""
    if not (folder / FILE).exists():
        return 0
    with Reader(folder) as reader:
        return len(reader.steps())
