"""The report of a run: tables, plots, and one HTML page that shows them."""

from search.report.report import make_report

__all__ = ["make_report"]
