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
