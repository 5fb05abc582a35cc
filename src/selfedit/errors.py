"""One root error and its few children. A message says what was wrong, where, and what to do next."""

from __future__ import annotations


class SelfeditError(Exception):
    """Anything a user can mend. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class ConfigError(SelfeditError):
    """A recipe or an option that cannot be used."""

    exit_code = 2


class DataError(SelfeditError):
    """A document or data file that cannot be read."""

    exit_code = 3


class ModelError(SelfeditError):
    """A model that cannot be found, opened or saved."""

    exit_code = 4


class EngineError(SelfeditError):
    """The engine cannot do what was asked."""

    exit_code = 5


class JudgeError(SelfeditError):
    """A judge that does not answer; it may do so later."""

    exit_code = 7


class LedgerError(SelfeditError):
    """The ledger is locked, damaged or belongs to something else."""

    exit_code = 6


class Interrupted(SelfeditError):
    """Stopped by the user; the run can be resumed."""

    exit_code = 130
