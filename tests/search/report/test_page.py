"""What the page and the table of a report say."""

from __future__ import annotations

import html
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import report_runs as runs
from report_runs import report

from search.front.front import Front
from search.report.network_table import make_network_table
from search.report.report import _describe_options
from search.report.run_results import read_run
from search.report.search_result import Score


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    runs.make_run(run, runs.digits_space(), trials=50, hand_made=False)
    return run


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "whole"))


def test_names_cannot_break_the_page(copy: Path) -> None:
    evil = "<script>alert(1)</script>".replace("/", "-")
    (copy / "retrain" / "main" / "50%").rename(copy / "retrain" / "main" / evil)
    page, _ = report(copy)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_table_tells_the_noise(copy: Path) -> None:
    networks = read_run(copy, "main").networks
    plain = make_network_table(networks, Score("top1"), Score("top1")).notes
    assert not any("standard error" in note for note in plain)
    given = [replace(each, test_images=400) for each in networks]
    given[0] = replace(given[0], standard_errors={"top1": 0.015})
    notes = make_network_table(given, Score("top1"), Score("top1")).notes
    assert "400 images (one standard error of the top-1 is 1.5 points)" in notes[0]


def test_the_page_says_what_its_figures_are_worth(copy: Path) -> None:
    path = copy / "search" / "main" / "front.yaml"
    replace(Front.load(path), images=3).save(path)
    page, _ = report(copy)
    assert "so they are optimistic" in page
    assert "3 in the search split" in page
    assert "tokennas run whole" in page
    assert "flat at its end" not in page
    shutil.rmtree(copy / "retrain")
    _, shown = report(copy)
    assert "so they are optimistic" in shown


def test_commands_in_a_report_can_be_run_as_they_stand(copy: Path) -> None:
    run = Path(shutil.move(copy, copy.with_name("my run")))
    page, _ = report(run)
    assert "tokennas run 'my run'" in html.unescape(page)


@pytest.mark.parametrize(
    "text",
    [
        "search: 3\nretrain: [1]\n",
        "search: null\nretrain: {budgets: 7}\n",
        "retrain: {budgets: null}\n",
    ],
)
def test_a_config_with_sections_that_are_none_is_left_out(copy: Path, text: str) -> None:
    shutil.rmtree(copy / "search" / "random")
    for place in (copy, copy / "search" / "main", *(copy / "retrain" / "main").glob("*/")):
        (place / "config.yaml").write_text(text)
    missing = read_run(copy, "main").missing
    assert any("--search.sampler RandomSampler" in line for line in missing)


def test_options_of_a_task_are_listed() -> None:
    options = {"max_depth": 10.0, "crop": None, "head": {"name": "dpt", "cls": True}}
    listed = ["max_depth=10.0", "head: name=dpt cls=true"]
    assert list(_describe_options(options)) == listed
    (classes,) = _describe_options({"classes": [f"c{k}" for k in range(150)]})
    assert classes.startswith("classes=c0, c1, ")
    assert classes.endswith(", c19 and 130 more")
