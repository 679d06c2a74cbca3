"""What --help says."""

import re

import pytest

from search.cli.commands import COMMANDS
from search.cli.messages import get_option_types
from search.cli.parse import parse_call
from space import InputError


@pytest.mark.parametrize("argv", [[], ["--help"], ["train", "--help"], ["inspect", "--help"]])
def test_help_teaches(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_call(argv)
    assert caught.value.code == 0
    assert "tokennas" in capsys.readouterr().out


def test_an_unknown_command_is_no_call_for_help(capsys):
    with pytest.raises(InputError, match="unknown command 'runn'; must be one of run, train"):
        parse_call(["runn", "--help"])
    assert capsys.readouterr().out == ""


def test_the_help_of_a_command_shows_what_it_uses_and_that_of_run_shows_all(capsys):
    shown = {}
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            parse_call([name, "--help"])
        shown[name] = set(re.findall(r"--((?:[a-z]\w*\.)+\w+)", capsys.readouterr().out))
    assert {"supernet.epochs", "data.batch"} <= shown["train"]
    assert "search.trials" in shown["search"]
    assert not {name for name in shown["export"] if name.startswith(("supernet.l", "retrain"))}
    assert shown["run"] >= shown["train"] | shown["search"] | shown["export"] | shown["retrain"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_that_help_lists_is_one(name, capsys):
    with pytest.raises(SystemExit):
        parse_call([name, "--help"])
    listed = set(re.findall(r"^  (?:-\w, )?--([\w.]+)", capsys.readouterr().out, re.MULTILINE))
    own = {option.name for option in COMMANDS[name].options}
    assert listed <= {*get_option_types(), *own, "help"}
    assert own <= listed
