"""The report: a run's ledger as one static HTML file that needs no network, words before numbers."""

from selfedit.report.page import write

__all__ = ["write"]
