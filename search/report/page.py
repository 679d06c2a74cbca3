"""The report as one HTML file that needs nothing else: pictures are inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from search.report.network_table import NetworkTable
from search.report.plots import Picture

TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclass(frozen=True)
class Page:
    """What the page shows, in its order.

    Args:
        title: Title of the report.
        subtitle: What it is made from.
        summary: Name and text of each thing that is known of the run.
        table: The table of networks, if there are any.
        pictures: The pictures.
        loading: Lines of Python that load a network, if there is one.
        missing: A sentence on each thing that is left out.
        versions: Versions of what made the report.
    """

    title: str
    subtitle: str
    summary: Sequence[tuple[str, str]]
    table: NetworkTable | None
    pictures: Sequence[Picture]
    loading: str
    missing: Sequence[str]
    versions: str


def render_page(page: Page) -> str:
    """The HTML of a report."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return f"{template.render(page=page)}\n"
