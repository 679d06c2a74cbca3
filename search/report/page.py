"""The report as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from search.report.network_table import NetworkTable
from search.report.plots import Picture
from search.report.run_results import RunResults
from search.report.summary import describe_loading, describe_versions, summarise_run

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def render_page(
    results: RunResults, table: NetworkTable | None, pictures: Sequence[Picture]
) -> str:
    """Render the HTML of a report."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = lambda path: base64.b64encode(path.read_bytes()).decode()
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        summary=summarise_run(results),
        table=table,
        pictures=pictures,
        loading=describe_loading(results),
        versions=describe_versions(),
    )
    return f"{page}\n"
