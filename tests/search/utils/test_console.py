"""Tables at any width: no number and no name is cut."""

import io
import re
import sys

import pytest
from rich.console import Console

from search.utils.console import Column, cell, new_console, show_columns, show_rows

ROWS = [
    {
        "trial": i,
        "top1": 0.8123 - i / 100,
        "macs": 1.23e9 / (i + 1),
        "lead": "≈ 0.52% ±0.41%",
        "of full": "27%",
        "kl": 0.012345,
        "params": 21.6e6,
        "tokens": 1234,
        "latency_ms": 11.25,
        "measured_latency_ms": 12.5,
    }
    for i in range(3)
]


def shown(rows, width):
    out = io.StringIO()
    show_rows(rows, Console(file=out, width=width), title="front")
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40])
def test_what_is_wanted_least_goes_and_nothing_is_cut(width):
    title, heading, *lines = shown(ROWS, width)
    assert title.strip() == "front"
    assert all(len(line.rstrip()) <= width for line in (heading, *lines))
    assert "…" not in "".join(lines)
    note = " ".join(" ".join(lines[len(ROWS) :]).split())
    left_out = note.partition(": ")[2].split(", ") if note else []
    names = re.split(r"\s{2,}", heading.strip())
    assert sorted([*names, *left_out]) == sorted(ROWS[0])
    kept = [name for name in ROWS[0] if name in names]
    assert (
        kept
        == {
            200: list(ROWS[0]),
            100: [name for name in ROWS[0] if name != "tokens"],
            80: ["trial", "top1", "macs", "lead", "of full", "latency_ms", "measured_latency_ms"],
            60: ["top1", "macs", "lead", "latency_ms"],
            40: ["top1", "macs", "lead"],
        }[width]
    )
    for line, row in zip(lines, ROWS, strict=False):
        cells = [cell(name, row[name]) for name in names]
        assert line.split() == " ".join(cells).split()


def test_milliseconds_that_a_budget_is_of_stay_longer_than_the_speed_beside_them():
    rows = [
        {
            "network": "full network",
            "top1 inherited": 0.5,
            "top1 retrained": 0.6,
            "MACs": 1.2e9,
            "parameters": 2e6,
            "images/s": 1234.5,
            "latency_ms": 11.25,
        }
    ]
    _, heading, *_ = shown(rows, 66)
    assert "latency_ms" in heading
    assert "images/s" not in heading


def test_a_long_name_is_folded_whole():
    name = "baseline_two_pools_" + 12 * "x1y2z3_"
    lines = shown([{"arch": name, "top1": 0.5}, {"arch": "b", "top1": 0.25}], 40)
    assert "50.00%" in "".join(lines)
    folded = "".join(line.split()[0] for line in lines[2:-1])
    assert folded.replace("\n", "") == name


def test_a_log_has_no_edge(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    show_rows([{f"metric{i}": 0.123456 for i in range(40)}], new_console())
    heading, values, *rest = sys.stdout.getvalue().splitlines()
    assert heading.split() == [f"metric{i}" for i in range(40)]
    assert values.split() == 40 * ["0.1235"]
    assert not rest


def test_metrics_go_before_costs_by_their_titles_too():
    """Those of reports, which have titles."""
    titles = ("network", "MACs", "of full", "RMSE, retrained", "relative error", "images/s")
    out = io.StringIO()
    show_columns([Column(each, ["12.3"]) for each in titles], Console(file=out, width=60))
    assert out.getvalue().splitlines()[-1] == "left out in a narrow terminal: relative error"
