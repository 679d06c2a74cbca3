"""Names in files: none is a path to elsewhere, none speaks to a terminal or a browser."""

import json
from pathlib import Path

import pytest
from report_runs import make_run
from search_toys import Evaluate, small_space
from security import in_a_line

from search.cli.main import main
from search.front.front import Front
from search.pipeline.choose import stage_path
from search.pipeline.config import Config, SearchConfig
from search.pipeline.run_folder import RunFolder
from search.report import make_report
from search.run import run_search

SPACE = small_space()

NAMES = ("../x", "..", ".", "/etc", "a/b", "a\\b", "a\nb", "", "~", "$HOME", "a b", "\x00")


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_search_is_no_path(name):
    assert "search.name: must be letters" in in_a_line(SearchConfig, name=name)
    reusing = SearchConfig(reuse=[name])
    assert "search.reuse: must be letters" in in_a_line(Config, search=reusing)


@pytest.mark.parametrize("name", [*NAMES, "...", "a/../../b", "50%/../.."])
def test_the_folder_of_a_retrained_network_lies_in_that_of_its_search(tmp_path, name):
    config = Config(run=str(tmp_path))
    stage = stage_path(config, name)
    place = (RunFolder(config, None).path / stage).resolve()
    assert place.parent == tmp_path / "retrain" / "main"


@pytest.mark.parametrize("file", ["...yaml", "..yaml", "a/b.yaml", "../c.yaml", ".yaml"])
def test_the_folder_of_a_run_lies_in_runs_where_the_config_names_none(file):
    path = RunFolder(Config(), Path(file)).path
    assert path.parent == Path("runs")
    assert path.name.strip(".")


def test_a_run_is_the_folder_that_is_named_and_nothing_is_expanded():
    assert RunFolder(Config(run="~/$HOME/`id`"), None).path == Path("~/$HOME/`id`")


def test_the_identity_of_a_front_is_no_path(tmp_path):
    run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=5, folder=tmp_path / "search")
    path = tmp_path / "search" / "front.yaml"
    front = Front.load(path)
    text = path.read_text().replace(front.entries[0].identity, "../../../../evil")
    path.write_text(text)
    assert "must be 16 hexadecimal digits" in in_a_line(Front.load, path)


def test_names_that_look_like_markup_or_html_are_shown_as_they_are(tmp_path, capsys):
    run = tmp_path / "run[/red]"
    make_run(run, SPACE, trials=5, random=False, hand_made=False)
    places = list((run / "retrain" / "main").iterdir())
    places[0].rename(places[0].with_name("[bold]<script>alert(1)<"))
    page = make_report(run).read_text()
    assert "<script>alert(1)" not in page
    assert "[bold]" in page
    assert "run[/red]" in capsys.readouterr().out.replace("\n", "")


def test_the_status_of_a_search_cannot_speak_to_the_terminal(tmp_path, capsys):
    config = tmp_path / "mine.yaml"
    config.write_text(f"run: {tmp_path}\n")
    folder = tmp_path / "search" / "main"
    run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=5, folder=folder)
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "ended": "[/red] \x1b[2J", "pid": 0}))
    assert main(["status", str(config)]) == 2
    (folder / "status.json").write_text(json.dumps({**status, "ended": "[/red] \x1b[2J"}))
    assert main(["status", str(config)]) == 0
    out = capsys.readouterr().out
    assert "[/red]" in out
    assert "\x1b" not in out
