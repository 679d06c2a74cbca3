"""The report of a run: tables, plots, and an HTML page of both."""

from search.report.report import make_report

__all__ = ["make_report"]
