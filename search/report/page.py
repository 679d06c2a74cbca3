"""The report as one HTML file that needs nothing else: pictures are inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from search.report.table import Final

CSS = """
:root { color-scheme: light dark; --ink: #1a1a1a; --quiet: #5c5c5c; --line: #d9d9d9;
  --paper: #ffffff; --box: #f4f5f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --quiet: #a6a6a6; --line: #3c3f44;
  --paper: #17191c; --box: #23262a; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1080px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .4rem; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
.quiet, footer { color: var(--quiet); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .42rem .8rem .42rem 0; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: bottom; }
th { font-weight: 600; }
th.text, td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
td.text { min-width: 9rem; }
td:first-child { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 1rem 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: .6rem 0 1.8rem; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--line); padding: 10px; }
pre { background: var(--box); border-radius: 6px; padding: .9rem 1rem; overflow-x: auto;
  font-size: .88rem; line-height: 1.45; }
code { font-size: .88em; }
"""


class Picture(NamedTuple):
    """A picture of the report.

    Args:
        stem: of its PNG.
        title: heading; several pictures in a row may share one.
        says: one sentence on what to see.
        png: the file's bytes.
    """

    stem: str
    title: str
    says: str
    png: bytes


class Page(NamedTuple):
    """What the page shows, in its order."""

    title: str
    subtitle: str
    facts: list[tuple[str, str]]
    final: Final | None
    pictures: list[Picture]
    load: str
    missing: Sequence[str]
    versions: str


def write_page(page: Page) -> str:
    """The HTML of a report."""
    parts = [
        f"<h1>{escape(page.title)}</h1>",
        f'<p class="quiet">{escape(page.subtitle)}</p>',
        _facts(page.facts),
    ]
    if page.final is not None and page.final.rows:
        parts += ["<h2>What was found</h2>", _table(page.final)]
    title = ""
    for picture in page.pictures:
        if picture.title != title:
            title = picture.title
            parts.append(f"<h2>{escape(title)}</h2>")
        parts.append(_picture(picture))
    if page.load:
        parts.append("<h2>Load it</h2><p>In Python:</p>")
        parts.append(f"<pre><code>{escape(page.load)}</code></pre>")
    if page.missing:
        items = "".join(f"<li>{escape(each)}</li>" for each in page.missing)
        parts.append(f'<h2>Not in this report</h2><ul class="quiet">{items}</ul>')
    parts.append(f"<footer>{escape(page.versions)}</footer>")
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<dl>{items}</dl>"


def _table(final: Final) -> str:
    classes = [' class="text"' if column.text else "" for column in final.columns]
    heads = zip(classes, final.columns, strict=True)
    head = "".join(f"<th{kind}>{escape(column.title)}</th>" for kind, column in heads)
    rows = []
    for row in final.rows:
        cells = zip(classes, row, strict=True)
        rows.append("".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in cells))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    notes = escape(" ".join(final.notes))
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'</div><p class="quiet">{notes}</p>'
    )


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    says = escape(picture.says)
    return f'<p>{says}</p>\n<figure><img alt="{says}" src="data:image/png;base64,{data}"></figure>'
