"""The ledger: everything that happened in a run, one SQLite file a run. Writers resume from it, reports and servers only read it."""

from selfedit.ledger.heads import Head, HeadChange, Heads
from selfedit.ledger.reader import Reader, RunInfo, RunSummary, Step, final_row, runs
from selfedit.ledger.writer import Ledger

__all__ = ["Head", "HeadChange", "Heads", "Ledger", "Reader", "RunInfo", "RunSummary", "Step", "final_row", "runs"]
