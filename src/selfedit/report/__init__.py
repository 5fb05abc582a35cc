"""The report: a run's ledger, or the library, as one static HTML file that needs no network, words before numbers."""

from selfedit.report.findings import write_analysis
from selfedit.report.page import write
from selfedit.report.results import write_results

__all__ = ["write", "write_analysis", "write_results"]
