"""Values that earlier versions had: runs have stored them, and nothing comes of them any more."""

import pytest

from search.cli.parse import parse_call
from search.pipeline.run_folder import CONFIG, FILE
from space import InputError

WORDS = "data: {batch: 8}\nsearch:\n  trials: 7\n  racing: "


def test_a_runs_own_config_goes_on(tmp_path):
    for racing in ("null", "0.05"):
        (tmp_path / CONFIG).write_text(f"{WORDS}{racing}\n")
        (tmp_path / FILE).write_text("search: {trials: 7}\n")
        call = parse_call(["search", str(tmp_path)])
        assert (call.config.search.trials, call.config.data.batch) == (7, 8)


def test_a_users_config_may_say_null_and_no_more(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"{WORDS}null\n")
    assert parse_call(["search", str(path)]).config.search.trials == 7
    path.write_text(f"{WORDS}0.05\n")
    with pytest.raises(InputError, match=r"mine\.yaml:4: search\.racing: unknown key"):
        parse_call(["search", str(path)])
    with pytest.raises(InputError, match=r"unknown option --search\.racing"):
        parse_call(["search", str(path), "--search.racing", "0.05"])


def test_the_stored_default_of_amp_is_not_taken_for_a_choice(tmp_path):
    # It was for GPUs alone; now true is a choice, also on a CPU.
    (tmp_path / CONFIG).write_text("supernet: {amp: true, epochs: 7}\nretrain: {amp: true}\n")
    (tmp_path / FILE).write_text("supernet: {epochs: 7}\n")
    config = parse_call(["search", str(tmp_path)]).config
    assert (config.supernet.amp, config.retrain.amp, config.supernet.epochs) == ("auto", "auto", 7)
    (tmp_path / FILE).write_text("supernet: {epochs: 7}\nretrain: {amp: true}\n")
    config = parse_call(["search", str(tmp_path)]).config
    assert (config.supernet.amp, config.retrain.amp) == ("auto", True)
    # A copy is a config as any other.
    mine = tmp_path / "mine.yaml"
    mine.write_text((tmp_path / CONFIG).read_text())
    assert parse_call(["search", str(mine)]).config.supernet.amp is True
